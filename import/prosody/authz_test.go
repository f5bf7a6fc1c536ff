package prosody

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants/policyfile"
)

// somebody is an account about which nothing is stored.
const somebody = "somebody"

// TestNeverMore compares the permissions of each sample's accounts here with
// the answers of Prosody 13's own role code, which -record writes down. An
// account must never have more permissions here, except for permissions that
// only Postern asks for.
func TestNeverMore(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/etc")
	if err != nil || len(dirs) < 20 {
		t.Fatal("no testdata", err)
	}
	compared, same := 0, 0
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		s, o := sample(t, dir)
		r, err := Import(t.Context(), s, o)
		if err != nil || o.DefaultForUnread || slices.Contains(unread, filepath.Base(dir)) {
			continue // TestSamples checks which samples fail; -record may have needed more inputs
		}
		if *record != "" {
			answers := authorize(t, dir, s)
			if err := os.WriteFile(dir+".may", answers, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		said, err := os.ReadFile(dir + ".may")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(said)) {
			line = strings.TrimSuffix(line, "\n")
			parts := strings.Split(line, "\t")
			if len(parts) != 5 {
				t.Fatalf("%s: %q", dir, line)
			}
			compared++
			there := permission.Of(permission.RequestsRead, permission.RequestsWrite) // only Postern asks for them
			if parts[3] == "free" {
				// Without the module, Prosody does not check these permissions;
				// the module gives them to nobody.
				there |= permission.Of(permission.AccountRead, permission.AccountWrite, permission.LegacyStorageRead, permission.LegacyStorageWrite)
			}
			for name := range strings.FieldsSeq(parts[4]) {
				if p, ok := permission.ByName(name); ok {
					there = there.With(p)
				}
			}
			if parts[4] == "disabled" {
				there = 0
			}
			here := imports(t, r, parts[0], parts[1])
			if more := here.Minus(there); more != 0 {
				t.Errorf("%s: %s@%s, %s in Prosody, gets %s", dir, parts[1], parts[0], parts[2], more)
			}
			if here == there {
				same++
			}
		}
	}
	if compared < 60 || same < 30 {
		t.Errorf("only %d accounts, %d of them alike", compared, same)
	}
}

// imports returns the permissions of an account according to an import.
func imports(t *testing.T, r *Result, host, user string) permission.Set {
	t.Helper()
	for _, file := range r.Files {
		f, err := policyfile.Parse(file.Tenant, file.Text)
		if err != nil {
			t.Fatal(err)
		}
		v, err := policyfile.View(f)
		if err != nil {
			t.Fatal(err)
		}
		access, ok := v.Tenant([]byte(file.Tenant)).Access([]byte(user+"@"+host), []byte(host))
		if !ok {
			continue
		}
		if access.Suspended {
			return 0
		}
		return access.Effective
	}
	return 0
}

// authorize asks Prosody's code about every account that a sample mentions.
func authorize(t *testing.T, dir string, s Source) []byte {
	t.Helper()
	c, err := evaluate(t.Context(), s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var asked bytes.Buffer
	for _, host := range c.virtualHosts() {
		users := map[string]bool{somebody: true}
		for _, section := range []string{global, host} {
			for _, v := range items(c.own(section, "admins")) {
				if user, domain, _ := strings.Cut(strings.ToLower(v.String()), "@"); domain == host {
					users[user] = true
				}
			}
		}
		for _, store := range []string{"account_roles", "accounts", "roles"} {
			if s.Data == nil {
				break
			}
			entries, _ := fs.ReadDir(s.Data, path.Join(encode(c.spelt[host]), store))
			for _, e := range entries {
				if user, err := decode(strings.TrimSuffix(e.Name(), ".dat")); err == nil {
					users[strings.ToLower(user)] = true
				}
			}
		}
		for _, user := range slices.Sorted(maps.Keys(users)) {
			fmt.Fprintf(&asked, "%s\t%s\n", host, user)
		}
	}
	script, err := filepath.Abs("testdata/authz.lua")
	if err != nil {
		t.Fatal(err)
	}
	where, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "lua5.4", script, path.Join(s.Root, s.File), s.Root, where+"/etc", where+"/data")
	cmd.Env = append(os.Environ(), "PROSODY="+*record)
	for name, value := range s.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stdin, cmd.Stderr = &asked, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(dir, err)
	}
	return out
}
