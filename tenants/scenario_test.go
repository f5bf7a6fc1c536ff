package tenants

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestScenarios runs the files of testdata. A line is a tenant, a command's name
// and its fields as JSON. The lines below it, which begin with "> ", are the
// result: the events, warnings or errors. Accepted commands are applied. An
// operator gives the command, or the tenant's administrator if the tenant is
// followed by ":admin". The tenant "installation" means a command without a
// tenant.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s: the results differ; run with -update and read the diff\n%s", file, got)
			}
		})
	}
}

func play(t *testing.T, scenario string) string {
	var out strings.Builder
	w := &world{t: t, v: projections.New()}
	for s := bufio.NewScanner(strings.NewReader(scenario)); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "> ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, answer := range w.answer(line) {
			out.WriteString("> " + answer + "\n")
		}
	}
	return out.String()
}

// world is an installation that applies commands.
type world struct {
	t testing.TB
	v *projections.View
}

func (w *world) answer(line string) []string {
	w.t.Helper()
	tenant, rest, _ := strings.Cut(line, " ")
	name, args, _ := strings.Cut(rest, " ")
	id, admin := strings.CutSuffix(tenant, ":admin")
	if id == "installation" {
		id = ""
	}
	give := w.give
	if admin {
		give = w.giveAsAdmin
	}
	outcome, err := give(id, changeOf(w.t, name, args))
	if err != nil {
		return errorLines(w.t, err)
	}
	var out []string
	for _, e := range outcome.Events {
		out = append(out, events.Describe(e))
	}
	for _, warning := range outcome.Warnings {
		out = append(out, fmt.Sprintf("warning: %s: %s", warning.Field, warning.Text))
	}
	if len(outcome.Events) == 0 {
		out = append(out, "nothing to do")
	}
	return out
}

// give checks a change as an operator's and applies its events.
func (w *world) give(tenant string, c Change) (Outcome, error) {
	w.t.Helper()
	outcome, err := Check(w.v, tenant, c)
	return w.apply(tenant, c, outcome, err)
}

// giveAsAdmin checks a change as the tenant's administrator's and applies its
// events.
func (w *world) giveAsAdmin(tenant string, c Change) (Outcome, error) {
	w.t.Helper()
	command := Command{Tenant: tenant, Actor: Actor{Name: "ann", Tenant: tenant}, ID: "1", Change: c}
	outcome, err := command.Check(w.v)
	return w.apply(tenant, c, outcome, err)
}

func (w *world) apply(tenant string, c Change, outcome Outcome, err error) (Outcome, error) {
	w.t.Helper()
	if err != nil || len(outcome.Events) == 0 {
		return outcome, err
	}
	commit := &events.Commit{Position: w.v.Position() + 1, Tenant: tenant, TenantVersion: 1, Events: outcome.Events}
	if tenant == "" {
		commit.TenantVersion = w.v.Installation().Version() + 1
	}
	if t := w.v.Tenant([]byte(tenant)); t != nil {
		commit.TenantVersion = t.Version() + 1
	}
	next, err := w.v.Apply(commit)
	if err != nil {
		w.t.Fatalf("the events of %s do not apply: %v", c.Name(), err)
	}
	w.v = next
	return outcome, nil
}

// changeOf returns a command by its name and its fields as JSON.
func changeOf(t testing.TB, name, args string) Change {
	t.Helper()
	for _, e := range Catalogue() {
		if e.Name != name {
			continue
		}
		c := reflect.New(reflect.TypeOf(e.Zero))
		c.Elem().Set(reflect.ValueOf(e.Zero))
		if args != "" {
			d := json.NewDecoder(strings.NewReader(args))
			d.DisallowUnknownFields()
			if err := d.Decode(c.Interface()); err != nil {
				t.Fatalf("%s %s: %v", name, args, err)
			}
		}
		return c.Elem().Interface().(Change)
	}
	t.Fatalf("no command %q", name)
	return nil
}

func errorLines(t testing.TB, err error) []string {
	t.Helper()
	errs, ok := errors.AsType[Errors](err)
	if first, is := errors.AsType[*Error](err); !ok || !is || first != errs[0] {
		t.Fatalf("%T: %v", err, err)
	}
	var out []string
	for _, e := range errs {
		if strings.Contains(e.Text, "\n") {
			t.Fatalf("a text of several lines: %q", e.Text)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", e.Code, e.Field))+": "+e.Text)
	}
	return out
}
