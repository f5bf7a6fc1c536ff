package policyfile

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

var update = flag.Bool("update", false, "rewrite the expected notes in testdata")

// TestFiles parses every file of testdata. The file with .golden added to the
// name has the expected notes of Parse and Events, or the events.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 5 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := transcript(filepath.Base(file), data)
			golden := file + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func transcript(name string, data []byte) string {
	f, err := Parse(name, data)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, w := range f.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	evs, err := f.Events(installed())
	if err != nil {
		return b.String() + err.Error() + "\n"
	}
	for _, e := range evs {
		fmt.Fprintln(&b, events.Describe(e))
	}
	return b.String()
}

// installed returns the View of an installation with one tenant.
func installed() *projections.View {
	v, err := projections.New().Apply(&events.Commit{Position: 1, Tenant: "other", TenantVersion: 1, Events: []events.Event{
		events.TenantCreated{Name: "Other"},
		events.DomainAdded{Domain: "other.test", DefaultRole: permission.Registered},
		events.ServiceAdded{Service: "muc.other.test"},
	}})
	if err != nil {
		panic(err)
	}
	return v
}

func TestTooLarge(t *testing.T) {
	_, err := Parse("big", bytes.Repeat([]byte{'#'}, MaxBytes+1))
	if errs, ok := errors.AsType[Errors](err); !ok || errs[0].Line != 0 {
		t.Fatal(err)
	}
}

// TestView folds several files into one installation.
func TestView(t *testing.T) {
	parse := func(text string) *File {
		t.Helper()
		f, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a := parse("tenant='a'\n[[domain]]\nname='a.test'")
	b := parse("tenant='b'\n[[domain]]\nname='b.test'\nservices=['a.test']")
	c := parse("tenant='c'\n[[domain]]\nname='c.test'\n[[member]]\njid='X@c.test'\nrole='prosody:guest'")
	if _, err := View(a, b); err == nil || !strings.Contains(err.Error(), "f:4:11:") {
		t.Errorf("clash: %v", err)
	}
	v, err := View(a, c)
	if err != nil {
		t.Fatal(err)
	}
	s, ok := v.Tenant([]byte("c")).Access([]byte("x@c.test"), []byte("c.test"))
	if !ok || s.Role != permission.Guest {
		t.Errorf("%+v %v", s, ok)
	}
	if _, err := View(a, a); err == nil {
		t.Error("the same tenant was accepted twice")
	}
}

// TestClashes checks that two files with the same tenant, domain or service
// clash, and that each file is reported only once.
func TestClashes(t *testing.T) {
	var all []Claims
	for name, text := range map[string]string{
		"a.toml": "tenant='a'\n[[domain]]\nname='a.test'\nservices=['muc.test']",
		"b.toml": "tenant='b'\n[[domain]]\nname='MUC.test'\nservices=['a.test']",
		"c.toml": "tenant='c'\n[[domain]]\nname='c.test'",
		"d.toml": "tenant='c'\n[[domain]]\nname='a.test'",
	} {
		f, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f.Claims())
	}
	slices.SortFunc(all, func(a, b Claims) int { return strings.Compare(a.File, b.File) })
	got := errors.Join(Clashes(all)...)
	const want = "b.toml:3:6: muc.test is in a.toml as well: a domain or service has only one tenant\n" +
		"c.toml and d.toml are both the policy of tenant c"
	if got == nil || got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
}

// FuzzParse checks that Parse never panics. It must return an Errors with places
// inside the file, or a File whose events apply.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		p, err := Parse("f", data)
		if err != nil {
			checkPlaces(t, data, err)
			return
		}
		var document map[string]any
		if err := toml.Unmarshal(data, &document); err != nil {
			t.Fatalf("no valid TOML: %v", err)
		}
		holdWritten(t, p)
		v := installed()
		evs, err := p.Events(v)
		if err != nil {
			checkPlaces(t, data, err)
			return
		}
		if _, err := v.Apply(&events.Commit{Position: 2, Tenant: p.Tenant, TenantVersion: 1, Events: evs}); err != nil {
			t.Fatalf("events do not apply: %v", err)
		}
	})
}

func checkPlaces(t *testing.T, data []byte, err error) {
	t.Helper()
	errs, ok := errors.AsType[Errors](err)
	if !ok || len(errs) == 0 {
		t.Fatalf("%T %v", err, err)
	}
	for _, n := range errs {
		if n.Line > 1+bytes.Count(data, []byte("\n")) || n.Line > 0 && n.Column < 1 {
			t.Fatalf("no such place: %s", n)
		}
		if strings.ContainsAny(n.Text, "\n\x00") {
			t.Fatalf("note with a break: %q", n.Text)
		}
	}
}

// TestHostile parses files that are made to be slow. The time for each must be
// proportional to its size; otherwise the test exceeds its time limit.
func TestHostile(t *testing.T) {
	const size = 1 << 19
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	number := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	var circles strings.Builder
	for i := range 999 {
		fmt.Fprintf(&circles, "[[role]]\nname='r%d'\ninherits=[", i)
		for j := range 16 {
			fmt.Fprintf(&circles, "'r%d',", (i+37*j+1)%999)
		}
		circles.WriteString("]\n")
	}
	for name, text := range map[string]string{
		"keys":     number("k%d=1\n"),
		"inline":   "a={" + number("k%d=1,") + "k=1}",
		"dotted":   repeat("a.") + "b=1",
		"header":   "[[" + repeat("a.") + "b]]",
		"headers":  repeat("[[role]]\n"),
		"tables":   repeat("[a]\n"),
		"backends": "[[domain]]\nbackend=[" + repeat("{},") + "]",
		"services": "[[domain]]\nservices=[" + number("'s%d',") + "]",
		"members":  number("[[member]]\njid='u%d@a.test'\n"),
		"nested":   "a=" + repeat("["),
		"circles":  circles.String(),
	} {
		if _, err := Parse(name, []byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			checkPlaces(t, []byte(text), err)
		}
	}
}
