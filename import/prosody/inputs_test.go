package prosody

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// imported imports one configuration and returns the findings and the policy
// file.
func imported(t *testing.T, text string, change func(*Source)) (findings []string, policy string, err error) {
	t.Helper()
	s := Source{Config: fstest.MapFS{"etc/c.lua": {Data: []byte(text)}}, File: "etc/c.lua", Root: "/"}
	if change != nil {
		change(&s)
	}
	r, err := Import(t.Context(), s, Options{})
	if err != nil {
		return nil, "", err
	}
	for _, f := range r.Findings {
		findings = append(findings, f.String())
	}
	for _, f := range r.Files {
		policy += string(f.Text)
	}
	return findings, policy, nil
}

func has(all []string, parts ...string) bool {
	return slices.ContainsFunc(all, func(s string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
	})
}

// TestNeeded checks the error for inputs that were not given although hosts or
// roles depend on them: it names all of them, with their options, in one run.
func TestNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"concat":     {"local d = os.getenv('DOMAIN')\nVirtualHost('chat.' .. d)", []string{"--env DOMAIN=VALUE (read at etc/c.lua:1)"}},
		"asserts":    {"local a = Lua.assert(ENV_A, 'set A')\nlocal b = Lua.assert(ENV_B, 'set B')\nVirtualHost(a .. '.' .. b)", []string{"--env A=", "--env B="}},
		"error":      {"if not Lua.os.getenv('A') then Lua.error('no A') end\nif not ENV_B then error('no B') end\nVirtualHost('x.' .. ENV_A) admins = { 'boss@' .. ENV_B }", []string{"--env A=", "--env B="}},
		"beside":     {"VirtualHost(os.getenv('A') or 'a.test')\ncustom_roles = { { name = os.getenv('ROLE') .. '-x' } }", []string{"--env A=", "--env ROLE="}},
		"never":      {"local a, b = ENV_A, ENV_B\nVirtualHost('a.test')\nx = ENV_C + {}", []string{"etc/c.lua:3:", "--env A=", "--env B=", "--env C="}},
		"file":       {"VirtualHost('a.test')\nadmins = FileLines('/etc/admins')", []string{"the file /etc/admins in it (read at etc/c.lua:2)"}},
		"denied":     {"VirtualHost('a.test')\nremove_permissions = { ['prosody:registered'] = FileLines('../outside') }", []string{"file outside in it"}},
		"opened":     {"VirtualHost('a.test')\nlocal f = Lua.io.open('roles')\ndefault_user_role = f and f:read('*l') or 'prosody:member'", []string{"file roles in it"}},
		"credential": {"VirtualHost('a.test')\ndefault_user_role = Credential('role')", []string{"--credentials DIR with a file role in it"}},
		"no host":    {"if ENV_A then VirtualHost('a.test') end", []string{"no enabled VirtualHost", "--env A="}},
		"arithmetic": {"local n = ENV_N + 1\nVirtualHost('a' .. n .. '.test')", []string{"--env N="}},
		"index":      {"VirtualHost(ENV_A:lower())", []string{"--env A="}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := imported(t, c.text, nil)
			if err == nil || !has([]string{err.Error()}, c.want...) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestNotNeeded checks the findings about inputs that were not given: one for
// all inputs on which no role or host depends, and one for each deciding input
// that counts as unset.
func TestNotNeeded(t *testing.T) {
	findings, policy, err := imported(t, `
log = { [os.getenv("LOG_LEVEL") or "info"] = "*console" }
sql = { host = os.getenv("DB_HOST"), password = Credential("db"), key = FileContents("/srv/key") }
external = "turn:" .. Credential("turn") .. os.getenv("TURN")
local f = Lua.io.open("/srv/smtp") smtp = f:read("*a")
if ENV_SWITCH == "on" and Credential("role") == "guest" then default_user_role = "prosody:guest" end
if os.getenv("STORE") == "sql" then default_storage = "sql" end
if os.getenv("GUESTS") == "on" and os.getenv("MODE") == "x" then default_user_role = "prosody:guest" end
VirtualHost(os.getenv("DOMAIN") or "localhost")
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DOMAIN", "STORE", "GUESTS", "MODE", "SWITCH"} {
		if !has(findings, "changed: ", "variable "+name+" is read", "--env "+name+"=VALUE") {
			t.Errorf("no finding of %s", name)
		}
	}
	if !has(findings, "info: 2 environment variables", ": LOG_LEVEL, DB_HOST") || !has(findings, "info: 5 values", "credential db, file /srv/key, credential turn, TURN, file /srv/smtp") {
		t.Error(strings.Join(findings, "\n"))
	}
	if !strings.Contains(policy, `name = "localhost"`) || strings.Contains(policy, placeholder) {
		t.Error(policy)
	}
	findings, policy, err = imported(t, `VirtualHost(os.getenv("DOMAIN") .. ".test") default_user_role = Credential("role")`, func(s *Source) {
		s.Env = map[string]string{"DOMAIN": "a"}
		s.Credentials = fstest.MapFS{"role": {Data: []byte("prosody:guest")}}
	})
	if err != nil || has(findings, "not given") || !strings.Contains(policy, "name = \"a.test\"\ndefault_role = \"prosody:guest\"") {
		t.Errorf("%v\n%s", err, policy)
	}
}

// TestManyInputs checks that inputs which cannot be tried within bounds count
// as deciding.
func TestManyInputs(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "x%d = os.getenv('V%d')\n", i, i)
	}
	findings, _, err := imported(t, b.String()+"VirtualHost 'a.test'", nil)
	if err != nil {
		t.Fatal(err)
	}
	if has(findings, "info: 300 environment variables") || !has(findings, "changed: ", "variable V299 is read") {
		t.Error("all of 300 were tried")
	}
}

// TestDecisive checks that the list of deciding options contains all options
// looked up.
func TestDecisive(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/etc")
	if err != nil || len(dirs) < 5 {
		t.Fatal("no testdata", err)
	}
	for _, dir := range dirs {
		s, o := sample(t, filepath.Dir(dir))
		c, err := evaluate(t.Context(), s, nil, nil)
		if err != nil {
			continue // it needs inputs
		}
		clear(c.asked) // the configuration itself looks up other names
		c.tenants(s, o)
		for option := range c.asked {
			if !slices.Contains(decisive[:], option) {
				t.Errorf("%s: %s is looked up and not among the options that decide", dir, option)
			}
		}
	}
}

// TestInclusionOrder checks that an option set by two files of one Include is
// reported, since Prosody uses the one that the directory lists last.
func TestInclusionOrder(t *testing.T) {
	include := func(a, b string) []string {
		t.Helper()
		findings, _, err := imported(t, "Include 'conf.d/*.lua'\nInclude 'last.lua'\nVirtualHost 'a.test'", func(s *Source) {
			s.Config = fstest.MapFS{"etc/c.lua": s.Config.(fstest.MapFS)["etc/c.lua"], "etc/last.lua": {Data: []byte("enabled = true\n")},
				"etc/conf.d/a.lua": {Data: []byte(a)}, "etc/conf.d/b.lua": {Data: []byte(b)}}
		})
		if err != nil {
			t.Fatal(err)
		}
		return findings
	}
	if f := include("default_user_role = 'prosody:guest'", "\ndefault_user_role = 'prosody:member'"); !has(f, "changed: etc/conf.d/b.lua:2: default_user_role is also set in a.lua") {
		t.Error(f)
	}
	if f := include("default_user_role = 'prosody:guest'", "default_user_role = 'prosody:guest' name = 'x'"); has(f, "is also set in") {
		t.Error(f)
	}
}

// TestSyntax checks that syntax new in Lua 5.4 is understood, or refused with
// its name and place.
func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"x = 7 // 2":                                  "c.lua:2: // is the integer division",
		"x = 1 << 2":                                  "c.lua:2: << is a bitwise operator",
		"x = 8 >> 2":                                  "c.lua:2: >> is a bitwise operator",
		"x = 7 & 3":                                   "c.lua:2: & is a bitwise operator",
		"x = 7 | 3":                                   "c.lua:2: | is a bitwise operator",
		"x = 7 ~ 3":                                   "c.lua:2: ~ is a bitwise operator",
		"x = ~7":                                      "c.lua:2: ~ is a bitwise operator",
		"local f <close> = nil":                       "c.lua:2: <close>",
		"x = Lua.table.unpack({1})":                   "c.lua:2: table.unpack is not available",
		"x = Lua.string.pack('i4', 1)":                "c.lua:2: string.pack is not available",
		"x = Lua.math.tointeger(3)":                   "c.lua:2: math.tointeger is not available",
		"x = Lua.utf8.char(65)":                       "c.lua:2: utf8.char is not available",
		"x = 'h' .. 10 / 2":                           "c.lua:2: the result of / is concatenated",
		"x = 'h' .. 1.0":                              "c.lua:2: the number 1.0 is concatenated",
		"x = '\\z  \n y' .. (7 & 3)":                  "c.lua:3: & is a bitwise operator",
		"VirtualHost '\\u{61}\\u{fc}.test'":           "aü.test",
		"VirtualHost '\\x61\\z \n  .test'":            "a.test",
		"local a <const> = 'b.test' VirtualHost(a)":   "b.test",
		"local a < const > = 'b.test' VirtualHost(a)": "b.test",
		"-- 7 // 2 & <close>\nVirtualHost 'c.test' x = '// & | ~ <close>' y = [[ ~ // ]]":                                        "c.test",
		"for i = 1, 2 do if i ~= 1 then goto on end ::on:: end local a, const = 1, 2 if a < const then VirtualHost 'd.test' end": "d.test",
	} {
		_, policy, err := imported(t, "\n"+text, nil)
		if got := fmt.Sprint(policy, err); !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %q", text, got, want)
		}
	}
}
