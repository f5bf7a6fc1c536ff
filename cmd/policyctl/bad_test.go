package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/policyfile"
)

// A witness runs command lines that must not change anything.
type witness struct {
	socket string
	client *api.Client
	before string
}

// newWitness fills a node and remembers its state.
func newWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{socket: startPolicyd(t)}
	w.client = api.NewClient(w.socket).Within(within)
	t.Cleanup(w.client.Close)
	for _, args := range []string{
		"apply -f testdata/sessions/policies --yes", "service add muc.beta.example -t beta",
		"tenant create gone", "tenant remove gone --yes",
	} {
		if code, out := w.run(t, strings.Fields(args)...); code != exitDone {
			t.Fatalf("%s: exit %d: %s", args, code, out)
		}
	}
	w.before = w.state(t)
	return w
}

func (w *witness) run(t *testing.T, args ...string) (int, string) {
	var out bytes.Buffer
	code := run(t.Context(), append([]string{"--socket", w.socket}, args...), strings.NewReader(""), &out, &out)
	return code, out.String()
}

// state returns the whole state: every commit, and the tenants with their
// versions. It asks the node without a command line, because most of the time of a
// command line is spent on building the parser.
func (w *witness) state(t *testing.T) string {
	t.Helper()
	log, err := w.client.Log(t.Context(), api.LogQuery{Limit: logPage})
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.client.Tenants(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{log, list})
	if s := string(text); err != nil || !strings.Contains(s, "gone") || !strings.Contains(s, "beta") {
		t.Fatal(s, err)
	}
	return string(text)
}

// refuses runs a command line and returns its output. Neither the log nor a
// tenant's version may change.
func (w *witness) refuses(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out := w.run(t, args...)
	if code != want {
		t.Errorf("%v: exit %d, want %d: %.500s", args, code, want, out)
	}
	if now := w.state(t); now != w.before {
		t.Fatalf("%v changed something: %s", args, now)
	}
	return out
}

// TestBadPolicies plans and applies everything in testdata/bad at the real node.
// Each file is refused with the text in testdata/bad.golden, and nothing is
// written.
func TestBadPolicies(t *testing.T) {
	entries, err := os.ReadDir("testdata/bad")
	if err != nil || len(entries) < 5 {
		t.Fatal("no testdata", err)
	}
	w := newWitness(t)
	var got strings.Builder
	for _, e := range entries {
		path := filepath.Join("testdata/bad", e.Name())
		code := exitUsage
		if name := e.Name(); name == "domain-of-another.toml" || name == "gone.toml" {
			code = exitError // only the node finds the fault
		}
		plan := w.refuses(t, code, "plan", "-f", path)
		apply := w.refuses(t, code, "apply", "-f", path, "--yes")
		if plan != apply {
			t.Errorf("%s: plan says %q, apply %q", path, plan, apply)
		}
		if !strings.Contains(w.refuses(t, code, "plan", "-f", path, "--json"), `{"error":{"code":"`) {
			t.Errorf("%s: no JSON", path)
		}
		fmt.Fprintf(&got, "== %s\n%s\n", e.Name(), plan)
	}
	const golden = "testdata/bad.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	compareLines(t, got.String(), string(want))
}

// numbered repeats a line with a growing number, up to a size.
func numbered(size int, format string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestHostileFiles runs plan, apply, check and test with files that are not a
// policy, are not text, or are designed to take much time or memory. Each is
// refused quickly, and nothing is written.
func TestHostileFiles(t *testing.T) {
	w := newWitness(t)
	dir := t.TempDir()
	const most = policyfile.MaxBytes
	const much = most / 8
	for name, c := range map[string]struct{ text, want string }{
		"huge":     {strings.Repeat("#", most+1), "huge.toml: the file has more than 4194304 bytes"},
		"latin1":   {"tenant = \"delta\"\nname = \"Caf\xe9\"\n", "latin1.toml:2:12: byte 0xe9 is not UTF-8"},
		"utf16":    {"\xff\xfet\x00", "utf16.toml:1:1: byte 0xff is not UTF-8"},
		"zeros":    {strings.Repeat("\x00", 1<<20), "zeros.toml:1:1: "},
		"deep":     {"a = " + strings.Repeat("[", most-8), "deep.toml:1:10005: "},
		"deeper":   {"a = " + strings.Repeat("{a=", most/3-8), "deeper.toml:1:"},
		"dotted":   {strings.Repeat("a.", much/2-8) + "b = 1", "dotted.toml:1:1: unknown key a.a.a.a: "},
		"keys":     {numbered(much-64, "k%d=1\n"), "keys.toml:1:1: unknown key \"k0\""},
		"tables":   {strings.Repeat("[[role]]\n", much/9), "roles: at most 1000"},
		"backends": {"tenant='d'\n[[domain]]\nname='d.test'\nbackend=[" + strings.Repeat("{},", much/3-32) + "]", "backends.toml:4:1: "},
		"members":  {"tenant='d'\n[[domain]]\nname='d.test'\n" + numbered(much*4, "[[member]]\njid='u%d@d.test'\nrole='prosody:admin'\n"), "at most 983040 are allowed: "},
		"strings":  {"tenant = '" + strings.Repeat("x", much-16) + "'", "strings.toml:1:10: "},
		"empty":    {"", "empty.toml: tenant is missing"},
	} {
		name = filepath.Join(dir, name+".toml")
		if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"plan"}, {"apply", "--yes"}} {
			code := exitUsage
			if filepath.Base(name) == "members.toml" {
				code = exitError // the node refuses it
			}
			if out := w.refuses(t, code, append(args, "-f", name)...); !strings.Contains(out, c.want) || len(out) > 64<<10 {
				t.Errorf("%v %s: %.500s", args, name, out)
			}
		}
		if out := w.refuses(t, exitUsage, "test", name); !strings.Contains(out, filepath.Base(name)+":") || len(out) > 64<<10 {
			t.Errorf("test %s: %.500s", name, out)
		}
	}
	// All of them together, and many more: not every error is shown.
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("wrong%d.toml", i)), []byte("tenant = 7\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out := w.refuses(t, exitUsage, "apply", "--yes", "-f", dir); !strings.Contains(out, "more files are wrong") || len(out) > 256<<10 {
		t.Errorf("the directory: %.500s", out)
	}
}

// TestOtherFiles names files that are not regular, such as pipes. They are
// refused without waiting.
func TestOtherFiles(t *testing.T) {
	w := newWitness(t)
	dir := t.TempDir()
	within := func(name string) string { return filepath.Join(dir, name) }
	err := syscall.Mkfifo(within("pipe.toml"), 0o600)
	for _, e := range []error{
		err,
		os.WriteFile(within("good"), []byte("tenant = \"delta\"\n"), 0o600),
		os.MkdirAll(within("folder/inner.toml"), 0o700),
		os.MkdirAll(within("links"), 0o700),
		os.Symlink("../good", within("links/link.toml")),
		os.Symlink("loop.toml", within("loop.toml")),
		os.MkdirAll(within("pipes"), 0o700),
		syscall.Mkfifo(within("pipes/p.toml"), 0o600),
		os.WriteFile(within("cases.test.toml"), []byte("policy = [\"pipe.toml\"]\n[[case]]\nrole = \"prosody:guest\"\nstanza = \"message\"\nexpect = \"pass\"\n"), 0o600),
		os.MkdirAll(within("etc"), 0o700),
		syscall.Mkfifo(within("etc/prosody.cfg.lua"), 0o600),
	} {
		if e != nil {
			t.Fatal(e)
		}
	}
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"plan -f pipe.toml", exitUsage, "neither a regular file nor a directory: give -f - to read from a pipe"},
		{"apply --yes -f pipe.toml", exitUsage, "neither a regular file"},
		{"plan -f folder", exitUsage, "inner.toml is not a regular file"},
		{"apply --yes -f links", exitUsage, "link.toml is not a regular file"},
		{"plan -f pipes", exitUsage, "p.toml is not a regular file"},
		{"apply --yes -f loop.toml", exitUsage, "too many levels of symbolic links"},
		{"apply --yes -f none.toml", exitUsage, "no such file"},
		{"plan -f /dev/zero", exitUsage, "neither a regular file"},
		{"tenant create -f pipe.toml", exitUsage, "pipe.toml is not a regular file"},
		{"tenant create -f folder", exitUsage, "folder is a directory"},
		{"check -f pipe.toml", exitUsage, "pipe.toml is not a regular file"},
		{"check -f /dev/zero", exitUsage, "/dev/zero is not a regular file"},
		{"test pipe.toml", exitUsage, "pipe.toml is not a regular file"},
		{"test /dev/zero", exitUsage, "/dev/zero is not a regular file"},
		{"test cases.test.toml", exitUsage, "cases.test.toml:1:11: "},
		{"import prosody --no-data --config etc/prosody.cfg.lua -o out", exitUsage, "prosody.cfg.lua is not a regular file"},
		{"import prosody --no-data --config folder/inner.toml -o out", exitUsage, "inner.toml: is a directory"},
	} {
		args := strings.Fields(c.args)
		for i, arg := range args {
			if _, err := os.Lstat(within(arg)); err == nil || arg == "none.toml" || arg == "out" {
				args[i] = within(arg)
			}
		}
		if out := w.refuses(t, c.code, args...); !strings.Contains(out, c.want) {
			t.Errorf("%s: %s", c.args, out)
		}
	}
	if _, err := os.Lstat(within("out")); err == nil {
		t.Error("a refused import wrote")
	}
}

// TestBadArguments runs commands with impossible arguments.
func TestBadArguments(t *testing.T) {
	w := newWitness(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"role", "define", "two words", "-t", "acme"}, exitError, `role name "two words"`},
		{[]string{"role", "define", strings.Repeat("x", 65), "-t", "acme"}, exitError, "1 to 64 characters"},
		{[]string{"role", "define", "bad\xff", "-t", "acme"}, exitUsage, "is not UTF-8"},
		{[]string{"role", "define", "prosody:king", "-t", "acme"}, exitError, "prosody:"},
		{[]string{"role", "define", "lab:a", "-t", "acme", "-i", "lab:none"}, exitError, `"lab:none"`},
		{[]string{"role", "define", "lab:a", "-t", "acme", "-i", "lab:a"}, exitError, `"lab:a"`},
		{[]string{"role", "define", "lab:a", "-t", "acme", "-a", "federate"}, exitError, `"federate"`},
		{[]string{"role", "define", "lab:a", "-t", "acme", "-a", "xmpp:federate,xmpp:federate"}, exitError, "twice"},
		{[]string{"role", "define", "lab:a", "-t", "acme", "-a", numbered(64<<10, "x:y%d,") + "z:z"}, exitError, "at most"},
		{[]string{"role", "define", "lab:a", "-t", "none"}, exitError, `no tenant "none"`},
		{[]string{"role", "define", "lab:a", "-t", "../x"}, exitError, `"../x"`},
		{[]string{"role", "define", "lab:a", "-t", "gone"}, exitError, `"gone"`},
		{[]string{"role", "adjust", "lab:kiosk", "-t", "acme", "--add", "a:b"}, exitError, `"lab:kiosk"`},
		{[]string{"role", "remove", "lab:kiosk", "-t", "acme", "--yes"}, exitError, `domain "beta.test"; set another there first`},
		{[]string{"member", "set-role", "bob@alpha.test", "lab:none"}, exitError, `"lab:none"`},
		{[]string{"member", "set-role", "bob@alpha.test", ""}, exitUsage, "role"},
		{[]string{"member", "set-role", "bob@alpha.test", "lab:kiosk", "-s", "lab:none"}, exitError, `"lab:none"`},
		{[]string{"member", "set-role", "bob", "lab:kiosk"}, exitUsage, "user@example.org"},
		{[]string{"member", "set-role", "bob@alpha.test/phone", "lab:kiosk"}, exitUsage, "user@example.org"},
		{[]string{"member", "set-role", "b\xffb@alpha.test", "lab:kiosk"}, exitUsage, "is not UTF-8"},
		{[]string{"member", "set-role", "bob@none.test", "lab:kiosk"}, exitError, "none.test"},
		{[]string{"member", "set-role", "bob@beta.example", "lab:kiosk", "-t", "acme"}, exitError, `tenant "acme" has no domain "beta.example"`},
		{[]string{"member", "set-role", "bob@beta.example", "lab:kiosk"}, exitError, `"lab:kiosk"`},
		{[]string{"member", "set-role", "bob@rooms.alpha.test", "lab:kiosk"}, exitError, "rooms.alpha.test"},
		{[]string{"member", "set-role", "bob@alpha.test", "prosody:guest", "--reason", "a\nb"}, exitError, "reason"},
		{[]string{"member", "set-role", "bob@alpha.test", "prosody:guest", "--reason", strings.Repeat("x", 1<<20)}, exitError, "reason"},
		{[]string{"member", "set-role", "bob@alpha.test", "prosody:guest", "--command-id", "a b"}, exitError, "command id"},
		{[]string{"domain", "add", "beta.example", "-t", "acme"}, exitError, `"beta.example"`},
		{[]string{"domain", "add", "delta.test", "-t", "acme", "--default-role", "lab:none"}, exitError, `"lab:none"`},
		{[]string{"service", "add", "alpha.test", "-t", "beta"}, exitError, `"alpha.test"`},
		{[]string{"tenant", "create", "Delta"}, exitError, `"Delta"`},
		{[]string{"tenant", "create", "gone"}, exitError, "never used again"},
		{[]string{"tenant", "set-ceiling", "acme", "federate"}, exitError, `"federate"`},
	} {
		if out := w.refuses(t, c.code, c.args...); !strings.Contains(out, c.want) || len(out) > 8<<10 {
			t.Errorf("%.200q: %.500s", c.args, out)
		}
	}
}
