package prosody

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/policyfile"
)

var update = flag.Bool("update", false, "rewrite the expected outcomes in testdata")

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

// sample returns a directory of testdata as a source. The file of the same name
// with the suffix .options has lines of "per-host" and "env NAME=VALUE".
func sample(t testing.TB, dir string) (Source, Options) {
	t.Helper()
	s := Source{Config: os.DirFS(filepath.Join(dir, "etc")), File: "prosody.cfg.lua", Root: "/etc/prosody", Env: map[string]string{}}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		s.Data = os.DirFS(filepath.Join(dir, "data"))
	}
	var o Options
	text, _ := os.ReadFile(dir + ".options")
	for _, line := range lines(string(text)) {
		if env, ok := strings.CutPrefix(line, "env "); ok {
			name, value, _ := strings.Cut(env, "=")
			s.Env[name] = value
		}
		o.PerHost = o.PerHost || line == "per-host"
		o.DefaultForUnread = o.DefaultForUnread || line == "default-for-unread"
		if root, ok := strings.CutPrefix(line, "root "); ok { // etc is the copy of this directory
			s.Root = root
		}
		if file, ok := strings.CutPrefix(line, "file "); ok {
			s.File = file
		}
	}
	return s, o
}

func transcript(s Source, o Options) string {
	r, err := Import(context.Background(), s, o)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f)
	}
	if r.Refused != "" {
		fmt.Fprintf(&b, "refused: %s\n", r.Refused)
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "\n== %s.toml\n%s", f.Tenant, f.Text)
	}
	return b.String()
}

// TestSamples imports the servers under testdata and compares files and report
// with the goldens.
func TestSamples(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/etc")
	if err != nil || len(dirs) < 5 {
		t.Fatal("no testdata", err)
	}
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			isTranscript(t, dir+".golden", func() string { return transcript(sample(t, dir)) })
		})
	}
}

// TestNothingGiven imports a sample without the environment variables it needs.
// The report names each variable and the option that supplies the variable.
func TestNothingGiven(t *testing.T) {
	s, _ := sample(t, "testdata/container-env")
	clear(s.Env)
	isTranscript(t, "testdata/container-unset.golden", func() string { return transcript(s, Options{}) })
}

// isTranscript compares the result of run with the file, and with the result of
// a second run.
func isTranscript(t *testing.T, file string, run func() string) {
	t.Helper()
	got := run()
	if again := run(); again != got {
		t.Fatalf("two imports differ:\n%s\n%s", got, again)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestNobodyGains imports the sample "roles" and checks the roles of its
// accounts.
func TestNobodyGains(t *testing.T) {
	s, o := sample(t, "testdata/roles")
	r, err := Import(context.Background(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := policyfile.Parse("roles.toml", r.Files[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := policyfile.View(f)
	if err != nil {
		t.Fatal(err)
	}
	for jid, want := range map[string]string{
		"bob@roles.test":      nothing, // its role is not registered
		"broken@roles.test":   nothing, // its file cannot be read
		"evil@roles.test":     nothing, // its file is a program
		"disabled@roles.test": "",      // although an admin
		"olds@roles.test":     nothing,
		"old@roles.test":      nothing,             // stored by 0.12; neither less nor more than the default
		"boss@roles.test":     permission.Operator, // admins take precedence over stored roles
		"chief@roles.test":    permission.Admin,
		"alice@roles.test":    "kiosk",
		"nobody@roles.test":   permission.Guest,
		"nobody@second.test":  nothing, // the default is not registered
	} {
		_, domain, _ := strings.Cut(jid, "@")
		access, ok := v.Tenant([]byte("imported")).Access([]byte(jid), []byte(domain))
		if access.Suspended {
			access.Role = "" // nobody logs in
		}
		if !ok || access.Role != want {
			t.Errorf("%s has %q, want %q", jid, access.Role, want)
		}
	}
}

// TestStored imports data that Prosody 13's own code stored: primary and
// secondary roles that were changed, reset and removed, and disabled accounts.
func TestStored(t *testing.T) {
	s, o := sample(t, "testdata/stored")
	r, err := Import(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := policyfile.Parse("stored.toml", r.Files[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range f.Create.Members {
		got[m.JID] = fmt.Sprintf("%s %v %t", m.Role, m.Secondary, m.Suspended != nil && *m.Suspended)
	}
	want := map[string]string{
		"plain@stored.test":    "prosody:operator [] false", // admins take precedence over stored roles
		"both@stored.test":     "prosody:member [kiosk prosody:admin] false",
		"second@stored.test":   " [custom:night-shift] false",
		"promoted@stored.test": "kiosk [] false",
		"reset@stored.test":    " [prosody:admin] false",
		"umlaut.ö@stored.test": "custom:b--ss- [custom:night-shift] false",
		"gone@stored.test":     "custom:night-shift [kiosk] true",
		"only@stored.test":     " [] true",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestCanonical checks that an export of the imported tenants gives the same
// bytes as the files.
func TestCanonical(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/etc")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, dir := range dirs {
		s, o := sample(t, filepath.Dir(dir))
		r, err := Import(t.Context(), s, o)
		if err != nil {
			continue // TestSamples checks which samples fail
		}
		for _, file := range r.Files {
			f, err := policyfile.Parse(file.Tenant, file.Text)
			if err != nil {
				t.Fatal(err)
			}
			v, err := policyfile.View(f)
			if err != nil {
				t.Fatal(err)
			}
			want := tenants.Desired(v.Tenant([]byte(file.Tenant)))
			if got := policyfile.Write(file.Tenant, want); !bytes.Equal(got, file.Text) {
				t.Errorf("%s: exported %s\nimported %s", dir, got, file.Text)
			}
			plan, err := tenants.Check(v, file.Tenant, tenants.ApplyTenant(f.Create))
			if err != nil || len(plan.Events) > 0 {
				t.Errorf("%s: applied again: %v, %v", dir, plan, err)
			}
			compared++
		}
	}
	if compared < 5 {
		t.Errorf("only %d files", compared)
	}
}

// TestNoRolesAtAll checks that settings with which Prosody's role module does
// not load are refused.
func TestNoRolesAtAll(t *testing.T) {
	for _, text := range []string{
		"remove_permissions = 'xmpp:federate'",
		"remove_permissions = { ['prosody:guest'] = 7 }",
	} {
		err := run(t.Context(), text+" VirtualHost 'a.test'")
		if err == nil || errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "c.lua:1: remove_permissions") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// run imports the configuration text. It may include self.lua, a file that
// includes itself.
func run(ctx context.Context, text string) error {
	_, err := Import(ctx, Source{Config: fstest.MapFS{
		"c.lua":    {Data: []byte(text)},
		"self.lua": {Data: []byte(`Include "self.lua"`)},
	}, File: "c.lua", Root: "/etc/prosody"}, Options{})
	return err
}

// TestHostile evaluates configurations that try to exhaust the machine. Each
// must end with an error that gives the place or the cause, long before the
// test times out.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"endless loop":       {"while true do end", "too long"},
		"through pcall":      {"while true do pcall(function() while true do end end) end", "too long"},
		"goto":               {"::a:: goto a", "too long"},
		"rep":                {"x = ('x'):rep(1e9)", "c.lua:1: a string of"},
		"rep of rep":         {"t = {} for i = 1, 1e6 do Lua.table.insert(t:value(), ('x'):rep(1e6) .. i) end", "too much memory"},
		"concat":             {"local s = 'x'\nwhile true do s = s .. s end", "c.lua:2: a string of"},
		"million entries":    {"local t = {} for i = 1, 1e7 do t[i] = i end", "too much memory"},
		"million keys":       {"local t = {} for i = 1, 1e7 do t['k' .. i] = i end", "too"},
		"far index":          {"local t = {} t[60000000] = 1", "c.lua:1: table index"},
		"far in a table":     {"x = { [60000000] = 1 }", "c.lua:1: table index"},
		"far, many times":    {"local l = {} for i = 1, 1e5 do l[i] = { [65000] = 1 } end", "too much memory"},
		"recursion":          {"local function f() return 1 + f() end f()", "stack overflow"},
		"tail recursion":     {"local function f() return f() end f()", "too long"},
		"pattern":            {"x = ('a'):rep(1000):find(('a-'):rep(20) .. 'b')", "too long"},
		"pattern's depth":    {"x = ('a'):rep(1000):find(('a?'):rep(500) .. 'b')", "too complex"},
		"nesting":            {"x = " + strings.Repeat("{", 5000) + strings.Repeat("}", 5000), "nested"},
		"parentheses":        {"x = " + strings.Repeat("-", 1) + strings.Repeat("(", 3000) + "1" + strings.Repeat(")", 3000), ""},
		"minus":              {"x = " + strings.Repeat("- ", 100000) + "1", "nested"},
		"blocks":             {strings.Repeat("do ", 3000) + strings.Repeat("end ", 3000), "nested"},
		"includes itself":    {"Include 'self.lua'", "deep"},
		"outside":            {"Include '/etc/passwd'", "c.lua:1: /etc/passwd is outside"},
		"upwards":            {"admins = FileContents '../../passwd' VirtualHost 'a.test'", "--root DIR (with --root-as) with the file ../../passwd in it (read at c.lua:1)"},
		"os":                 {"x = 1\nLua.os.execute('true')", "c.lua:2: os.execute is not available"},
		"io":                 {"admins = { Lua.io.open('/etc/passwd'):read('*a') } VirtualHost 'a.test'", "with the file /etc/passwd in it (read at c.lua:1)"},
		"write a file":       {"Lua.io.open('c.lua', 'w')", "c.lua:1: io.open to write"},
		"read a file":        {"local f = Lua.io.open('/etc/prosody/self.lua')\nLua.error(f:read('*l') .. f:read('*a') .. '!')", "Include \"self.lua\"!"},
		"no file":            {"Lua.assert(Lua.io.open('/etc/prosody/none'))\nx()", "with the file /etc/prosody/none in it (read at c.lua:1)"},
		"relative":           {"admins = { Lua.io.open('self.lua'):read('*a') } VirtualHost 'a.test'", "with the file self.lua in it (read at c.lua:1)"},
		"popen":              {"Lua.io.popen('true')", "c.lua:1: io.popen is not available"},
		"require":            {"local x = require 'socket'", "c.lua:1: require \"socket\" is not available"},
		"load":               {"Lua.load('while true do end')()", "c.lua:1: load is not available"},
		"debug":              {"Lua.debug.sethook()", "debug.sethook is not available"},
		"metatables":         {"Lua.setmetatable({}, {})", "setmetatable is not available"},
		"varargs":            {"local function f(...) return {...} end", "c.lua:1: a function with"},
		"escape":             {"\nx = '\\u{110000}'", "c.lua:2: \\u needs"},
		"syntax":             {"x = = 1", "c.lua:1:"},
		"unfinished":         {"x = 'a\n", "c.lua:1: unfinished string"},
		"no host":            {"x = 1", "no enabled VirtualHost"},
		"host's name":        {"VirtualHost 'a b'", "c.lua:1: VirtualHost"},
		"clash":              {"VirtualHost 'a.test'\nComponent 'a.test' 'muc'", "c.lua:2: Component"},
		"missing ='":         {"VirtualHost 'a.test'\nadmins = {}\nadmins 'x'", "c.lua:3:"},
		"huge file":          {strings.Repeat(" ", maxFile+1), "more than"},
		"error with a table": {"error({})", "table"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestDeadline checks that the context ends an evaluation.
func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if err := run(ctx, "for i = 1, 1e5 do end VirtualHost 'a.test'"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// FuzzConfig checks that importing any configuration gives an error or policy
// files that Postern accepts, and never panics.
func FuzzConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/etc/*.lua")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 1<<14 {
			_ = run(t.Context(), text)
		}
	})
}

// TestData parses stored files.
func TestData(t *testing.T) {
	for text, want := range map[string]string{
		"return { };":                                 "map[]",
		"return {\n\t[\"a\"] = \"b\";\n};\n":          "map[a:b]",
		"return{a='b',[1]=2,true}":                    "error",
		"return {1;2;{}}":                             "map[#1:1 #2:2 #3:map[]]",
		`return {["a\"\\\n\065\x42"]="\000\255"}`:     "map[a\"\\\nAB:\x00\xff]",
		"return { a = -1.5e3, b = 0x10, c = (0/0) } ": "map[a:-1500 b:16 c:0]",
		"return { a = nil } -- by hand":               "map[]",
		"return { a = 1, a = 2 }":                     "error",
		"return { a = f() }":                          "error",
		"return { a = 1 + 1 }":                        "error",
		"return { a = 'b' .. 'c' }":                   "error",
		"return { a = b }":                            "error",
		"return {":                                    "error",
		"return {} {}":                                "error",
		"return 'x'":                                  "error",
		"x = {}":                                      "error",
		"":                                            "error",
		"return " + strings.Repeat("{", 1000):         "error",
		"return {['a']=1;['#1']=2}":                   "map[#1:2 a:1]",
	} {
		d, err := parseDatum([]byte(text))
		got := fmt.Sprint(map[string]any(d))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s %v, want %s", text, got, err, want)
		}
	}
}

// FuzzData checks the parser of stored files with arbitrary bytes.
func FuzzData(f *testing.F) {
	f.Add([]byte("return { [\"_default\"] = \"prosody:guest\"; };"))
	f.Add([]byte("return {\n\t{ [1] = 'x' }; a = \"\\255\\x41\\\n\", -1e9 };"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseDatum(data); err != nil && !strings.HasPrefix(err.Error(), "line ") && len(data) <= maxDatum {
			t.Errorf("no line: %v", err)
		}
	})
}

// TestNames checks that decode is the inverse of encode.
func TestNames(t *testing.T) {
	for _, name := range []string{"example.test", "a_b-c", "ünder%20", ""} {
		if got, err := decode(encode(name)); err != nil || got != name {
			t.Errorf("%q became %q, %v", name, got, err)
		}
	}
	for _, bad := range []string{"%", "%2", "%zz"} {
		if _, err := decode(bad); err == nil {
			t.Errorf("%q decoded", bad)
		}
	}
}

// TestMeasured compares roles with the answers of a running Prosody 13 (trunk
// of May 2025) for the sample "measured" with the defaults of its modules. For
// each role and permission, the answer is true, false, or nil for no answer,
// which means denied. A role that is missing was not registered.
func TestMeasured(t *testing.T) {
	permissions := strings.Fields("xmpp:federate xmpp:account:pep:read xmpp:account:contacts:write xmpp:account:presence:write xmpp:account:messages:write xmpp:account:history:write")
	measured := map[string]string{
		"both":               "false nil nil nil nil nil",
		"kiosk":              "false true true false false false",
		"last":               "nil nil nil nil nil nil",
		"prosody:admin":      "false true true true true false",
		"prosody:guest":      "true true true true true true",
		"prosody:member":     "false true true true true false",
		"prosody:operator":   "false true true true true false",
		"prosody:registered": "false true true true true false",
		"staff":              "false true true true true false",
		"stars":              "nil nil nil nil nil nil",
		"table":              "true false nil nil nil nil",
		"texts":              "true true true true true true",
		"two words":          "true true true true true true",
	}
	s, _ := sample(t, "testdata/measured")
	c, err := evaluate(t.Context(), s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := (&mapping{config: c}).registry("roles.test")
	if len(r.roles) != len(measured) {
		t.Errorf("%d roles, want %d", len(r.roles), len(measured))
	}
	for name, want := range measured {
		role := r.roles[name]
		if role == nil {
			t.Errorf("role %q is missing", name)
			continue
		}
		for i, answer := range strings.Fields(want) {
			got, _ := r.say(role.name, permissions[i])
			if got != (answer == "true") {
				t.Errorf("role %q, %s: %v, Prosody answers %s", name, permissions[i], got, answer)
			}
		}
	}
}

// TestFolderForFile checks that an account gets no permissions if there is a
// folder in place of its file, since Prosody cannot read it either.
func TestFolderForFile(t *testing.T) {
	r, err := Import(t.Context(), Source{
		Config: fstest.MapFS{"prosody.cfg.lua": {Data: []byte("VirtualHost 'a.test'\n")}},
		File:   "prosody.cfg.lua",
		Data:   fstest.MapFS{"a%2etest/account_roles/bob.dat": {Mode: fs.ModeDir | 0o700}},
	}, Options{Tenant: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(r.Files[0].Text); !strings.Contains(text, "jid = \"bob@a.test\"\nrole = \"imported:nothing\"") {
		t.Error(text)
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == Damaged && strings.Contains(f.Text, "bob@a.test") }) {
		t.Errorf("%+v", r.Findings)
	}
}

// TestDamagedAdmin checks that an admin whose stored roles cannot be read gets
// no permissions, and that the report does not give this account the role of an
// admin.
func TestDamagedAdmin(t *testing.T) {
	r, err := Import(t.Context(), Source{
		Config: fstest.MapFS{"prosody.cfg.lua": {Data: []byte("VirtualHost 'a.test'\nadmins = { 'boss@a.test', 'other@a.test' }\n")}},
		File:   "prosody.cfg.lua",
		Data:   fstest.MapFS{"a%2etest/account_roles/boss.dat": {Data: []byte("return {{{")}},
	}, Options{Tenant: "a"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(r.Files[0].Text)
	if !strings.Contains(text, "jid = \"boss@a.test\"\nrole = \"imported:nothing\"") || !strings.Contains(text, "jid = \"other@a.test\"\nrole = \"prosody:admin\"") {
		t.Error(text)
	}
	said := map[string]Kind{}
	for _, f := range r.Findings {
		for _, name := range []string{"boss@a.test gets", "boss@a.test is an admin, but gets no permissions", "other@a.test gets"} {
			if strings.Contains(f.Text, name) {
				said[name] = f.Kind
			}
		}
	}
	if len(said) != 2 || said["boss@a.test is an admin, but gets no permissions"] != Changed || said["other@a.test gets"] != Info {
		t.Errorf("%v in %+v", said, r.Findings)
	}
}
