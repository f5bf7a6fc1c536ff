package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// TestTableFitsTheTerminal: no line is wider than the terminal, and wide
// characters count as two columns. Without a terminal, lines are not broken.
func TestTableFitsTheTerminal(t *testing.T) {
	fill := func(w *page) *table {
		tab := &table{}
		tab.add("ACCOUNT", "ROLE", "BECAUSE")
		tab.add("averyveryverylongname@alpha.example", "prosody:registered", "prosody:guest allows it, inherited by acme:staff, prosody:registered")
		tab.add("日本語日本語日本語日本語@alpha.example", "acme:staff", "the tenant's ceiling")
		tab.write(w)
		return tab
	}
	for width := 30; width <= 140; width++ {
		p := &page{look: look{width: width}}
		fill(p)
		for line := range strings.Lines(p.String()) {
			if n := ruler().StringWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("at %d columns a line has %d: %q", width, n, line)
			}
		}
	}
	// No text is lost.
	const name = "averyverylongnamewithoutanysign@chat.alpha.example"
	for width := 2; width <= 60; width++ {
		p := &page{look: look{width: width}}
		tab := &table{}
		tab.add(name)
		tab.write(p)
		hang(p, "", name)
		if got := strings.Join(strings.Fields(p.String()), ""); got != name+name {
			t.Errorf("at %d columns: %q", width, got)
		}
	}
	plain := &page{}
	fill(plain)
	if strings.Contains(plain.String(), "…") || strings.Count(plain.String(), "\n") != 3 {
		t.Errorf("without a terminal:\n%s", plain.String())
	}
	if i, j := strings.Index(plain.String(), "acme:staff  "), strings.Index(plain.String(), "日本語"); i < 0 || j < 0 {
		t.Errorf("without a terminal:\n%s", plain.String())
	}
}

func TestColourChoice(t *testing.T) {
	for _, c := range []struct {
		choice string
		env    map[string]string
		want   bool
	}{
		{colourAuto, nil, false},
		{colourAuto, map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{colourAuto, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{colourAuto, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
		{colourAlways, map[string]string{"NO_COLOR": "1"}, true},
		{colourNever, map[string]string{"CLICOLOR_FORCE": "1"}, false},
	} {
		got := lookAt(&bytes.Buffer{}, c.choice, func(name string) string { return c.env[name] })
		if got.colour != c.want || got.width != 0 {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// TestConsent: the typed answer decides. If nobody can be asked, there is no
// consent.
func TestConsent(t *testing.T) {
	for _, c := range []struct {
		typed, name string
		ask, json   bool
		yes, want   bool
	}{
		{yes: true, want: true},
		{typed: "acme\n", name: "acme"},
		{typed: "acme\n", name: "acme", ask: true, json: true},
		{typed: "acme\n", name: "acme", ask: true, want: true},
		{typed: "y\n", name: "acme", ask: true},
		{typed: "y\n", ask: true, want: true},
		{typed: "yes\n", ask: true, want: true},
		{typed: "n\n", ask: true},
		{typed: "\n", ask: true},
		{typed: "", ask: true},
		{typed: strings.Repeat("y", 2*maxAnswer), ask: true},
	} {
		var errOut bytes.Buffer
		a := &app{in: strings.NewReader(c.typed), err: &errOut, ask: c.ask, json: c.json}
		err := (&consent{Yes: c.yes}).given(t.Context(), a, "this loses \x1b[31mit", c.name)
		if (err == nil) != c.want || strings.Contains(errOut.String(), "\x1b") {
			t.Errorf("%+v: %v, %q", c, err, errOut.String())
		}
	}
}

// TestProgress: the line changes at most every 100 ms on a terminal, and a line is
// written every 10 s elsewhere. close removes the line from the terminal.
func TestProgress(t *testing.T) {
	clock := time.Unix(0, 0)
	work := func(a *app) string {
		var errOut bytes.Buffer
		a.err = &errOut
		p := a.progress("verify", 3000, "commits")
		p.now, p.began, p.shown = func() time.Time { return clock }, clock, clock
		for i := range int64(3000) { // 30 s
			clock = clock.Add(10 * time.Millisecond)
			p.at(i + 1)
		}
		p.close()
		return errOut.String()
	}
	if got := work(&app{errLook: look{width: 60}}); strings.Count(got, "\r") != 300+1 || !strings.HasSuffix(got, "\r\x1b[K") || strings.Contains(got, "\n") {
		t.Errorf("on a terminal: %d lines, %q", strings.Count(got, "\r"), got[max(0, len(got)-200):])
	}
	want := "verify:  33 %, 1000 of 3000 commits, 100/s, 20s left\nverify:  67 %, 2000 of 3000 commits, 100/s, 10s left\nverify: 100 %, 3000 of 3000 commits, 100/s\n"
	if got := work(&app{}); got != want {
		t.Errorf("elsewhere: %q", got)
	}
	if got := work(&app{quiet: true}) + work(&app{json: true}); got != "" {
		t.Errorf("quiet: %q", got)
	}
}

// TestEveryCommandHelps: each command has a help text and an example that begins
// with its own name. Each command that loses something for good asks first.
func TestEveryCommandHelps(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("policyctl"), kong.Vars{"socket": "S", "backend": "B"})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(true) {
		path := leaf.FullPath()
		if leaf.Help == "" {
			t.Errorf("%s: give the field in its command's struct a help:\"…\"", path)
		}
		help, ok := leaf.Target.Addr().Interface().(kong.HelpProvider)
		switch {
		case !ok:
			t.Errorf("%s: give %s a method Help() string with \"Example:\" and an example", path, leaf.Target.Type())
		case !strings.Contains(help.Help(), "Example"), !strings.Contains(help.Help(), "    "+path):
			t.Errorf("%s: its Help() needs \"Example:\" and, indented by four blanks, a line that begins with %q", path, path)
		}
		if leaf.Name == "remove" || leaf.Name == "restore" || leaf.Name == "apply" {
			if !leaf.Target.FieldByName("Yes").IsValid() {
				t.Errorf("%s: it loses something; embed consent, and call given before it does", path)
			}
		}
		for _, f := range leaf.Flags {
			if f.Help == "" {
				t.Errorf("%s: --%s has no help", path, f.Name)
			}
		}
	}
}

// TestErrorsAreJSON: with --json every error is JSON, including errors of the
// command line itself.
func TestErrorsAreJSON(t *testing.T) {
	for _, args := range [][]string{
		{"--json"}, {"--json", "tenant", "crate"}, {"tenant", "show", "--json"}, {"tenant", "list", "--nonsense", "--json"},
		{"tenant", "remove", "acme", "--json"}, {"--json", "check", "-f", "/nonexistent"},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), args, nil, &out, &errOut)
		if code != exitUsage || out.Len() > 0 || !strings.HasPrefix(errOut.String(), `{"error":{"code":"usage","text":"`) || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("%q: exit %d, %q, %q", args, code, out.String(), errOut.String())
		}
	}
}
