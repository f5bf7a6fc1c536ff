package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prosodySamples has the sample servers of import/prosody's tests.
const prosodySamples = "../../import/prosody/testdata"

func policyctl(in string, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// TestImportProsody imports a server. A second import does not overwrite the
// files without --force. check then decides by the imported file.
func TestImportProsody(t *testing.T) {
	dir := t.TempDir()
	server := filepath.Join(prosodySamples, "roles")
	args := []string{"--json", "import", "prosody", "--config", server + "/etc/prosody.cfg.lua", "--data", server + "/data", "--tenant", "acme", "-o", dir}
	code, out, errOut := policyctl("", args...)
	var report importReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err, errOut)
	}
	if code != exitError || report.Clean || len(report.Files) != 1 || report.Files[0].Domains != 2 {
		t.Errorf("exit %d, %+v", code, report)
	}
	file := filepath.Join(dir, "acme.toml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(before, "# mine\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := policyctl("", args...); code != exitError || !strings.Contains(errOut, "--force") {
		t.Errorf("exit %d: %s", code, errOut)
	}
	if now, _ := os.ReadFile(file); !strings.HasSuffix(string(now), "# mine\n") {
		t.Error("it was written over")
	}
	policyctl("", append(args, "--force")...)
	if now, _ := os.ReadFile(file); !bytes.Equal(now, before) {
		t.Errorf("not as before:\n%s", now)
	}
	question := func(account string) string {
		return `{"id":1,"account":"` + account + `","resource":"x","direction":"out","stanza":"<message to='a@roles.test'><body/></message>"}` + "\n"
	}
	code, out, errOut = policyctl(question("alice@roles.test")+question("boss@roles.test")+question("evil@roles.test"), "check", "-f", file)
	answers := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitDone || len(answers) != 3 {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	for i, want := range []string{"refuse", "pass", "refuse"} {
		if !strings.Contains(answers[i], `"effect":"`+want+`"`) {
			t.Errorf("answer %d: %s, want %s", i, answers[i], want)
		}
	}
}

// TestImportApplies applies imported files at real nodes. The tenants are new at
// first and match their files afterwards; an export gives the same bytes.
func TestImportApplies(t *testing.T) {
	for _, sample := range []string{"roles", "stored"} {
		socket := startPolicyd(t) // one node a sample, because all samples have the same domains
		server, dir := filepath.Join(prosodySamples, sample), t.TempDir()
		_, _, errOut := policyctl("", "import", "prosody", "--config", server+"/etc/prosody.cfg.lua", "--data", server+"/data", "--tenant", sample, "-o", dir)
		file := filepath.Join(dir, sample+".toml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err, errOut)
		}
		for _, step := range []struct {
			args string
			code int
			want string
		}{
			{"plan -f " + file, exitChanges, "1 of 1 tenants to change"},
			{"apply --yes -f " + file, exitDone, "applied"},
			{"plan -f " + file, exitDone, "nothing to change"},
			{"export " + sample, exitDone, string(text)},
		} {
			code, out, errOut := policyctl("", append([]string{"--socket", socket}, strings.Fields(step.args)...)...)
			out = strings.ReplaceAll(out, " # by the operator", "") // a comment about the suspension that an imported file does not have
			if code != step.code || !strings.Contains(out, step.want) {
				t.Errorf("%s: exit %d: %s%s", step.args, code, out, errOut)
			}
		}
	}
}

// TestImportProsodyCopy reads a copy of a server's files by their original paths.
func TestImportProsodyCopy(t *testing.T) {
	copied, out := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"etc/prosody/prosody.cfg.lua":  "Include '/srv/more/*.cfg.lua'",
		"srv/more/a.cfg.lua":           "VirtualHost 'a.test' { admins = FileLines '/etc/prosody/admins' }",
		"etc/prosody/admins":           "ann@a.test\n",
		"data/a%2etest/accounts/x.dat": "return { [\"disabled\"] = false; };",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(copied, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, _, errOut := policyctl("", "import", "prosody", "--config", filepath.Join(copied, "etc/prosody/prosody.cfg.lua"),
		"--root", copied, "--root-as", "/", "--data", filepath.Join(copied, "data"), "--tenant", "a", "-o", out)
	text, _ := os.ReadFile(filepath.Join(out, "a.toml"))
	if code != exitDone || !strings.Contains(string(text), "jid = \"ann@a.test\"\nrole = \"prosody:admin\"") {
		t.Errorf("exit %d: %s\n%s", code, errOut, text)
	}
}

// TestImportProsodyWrongData: if the data directory holds nothing of the host,
// nothing is written, and the report names the place that was looked at.
func TestImportProsodyWrongData(t *testing.T) {
	server := filepath.Join(prosodySamples, "several-stores")
	for name, c := range map[string]struct{ data, want string }{
		"the directory above": {server, "the folder is in \"data\": give that directory"},
		"a host's own":        {server + "/data/files%2etest", "it looks like the folder of one host"},
		"empty":               {t.TempDir(), "it contains no folders"},
		"of other hosts":      {prosodySamples + "/stored/data", "it contains the folders \"stored%2etest\""},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		args := []string{"--json", "import", "prosody", "--config", server + "/etc/prosody.cfg.lua", "--data", c.data, "-o", dir}
		code, out, errOut := policyctl("", args...)
		var report importReport
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(name, err, errOut)
		}
		said := ""
		for _, f := range report.Findings {
			if f.Kind == "unread" && f.Where == "files.test" {
				said = f.Text
			}
		}
		if code != exitError || len(report.Files) != 0 || !strings.Contains(said, "files%2etest") || !strings.Contains(said, c.want) || !strings.Contains(errOut, "nothing was written") {
			t.Errorf("%s: exit %d, %q, %s", name, code, said, errOut)
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%s: wrote %v", name, files)
		}
	}
}

// TestImportProsodyInputs: an import does not need a secret on which nothing
// depends. If a variable that is part of a domain's name is missing, the error
// names the option that supplies it.
func TestImportProsodyInputs(t *testing.T) {
	etc, data, credentials := t.TempDir(), t.TempDir(), t.TempDir()
	config := filepath.Join(etc, "prosody.cfg.lua")
	for name, text := range map[string]string{
		config: `VirtualHost(Lua.assert(ENV_DOMAIN, "set DOMAIN") .. ".test")
sql = { password = Credential("db"), key = FileLine("/srv/key") }
default_user_role = ENV_GUESTS and Credential("role")`,
		filepath.Join(data, "a%2etest/accounts/x.dat"): "return {}",
		filepath.Join(credentials, "role"):             "prosody:guest",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		code int
		want string
		args []string
	}{
		"nothing":     {exitUsage, "--env DOMAIN=VALUE (read at prosody.cfg.lua:1), --env GUESTS=VALUE (read at prosody.cfg.lua:3)", nil},
		"domain":      {exitError, "environment variable GUESTS is read", []string{"--env", "DOMAIN=a"}},
		"a variable":  {exitUsage, "--credentials DIR with a file role in it", []string{"--env", "DOMAIN=a", "--env", "GUESTS=1"}},
		"credentials": {exitError, "default_role = \"prosody:guest\"", []string{"--env", "DOMAIN=a", "--env", "GUESTS=1", "--credentials", credentials}},
	} {
		dir := t.TempDir()
		code, out, errOut := policyctl("", append([]string{"import", "prosody", "--config", config, "--data", data, "--tenant", "a", "-o", dir}, c.args...)...)
		file, _ := os.ReadFile(filepath.Join(dir, "a.toml"))
		if all := out + errOut + string(file); code != c.code || !strings.Contains(all, c.want) || code == exitUsage && len(file) > 0 {
			t.Errorf("%s: exit %d\n%s", name, code, all)
		}
	}
}

// TestImportProsodyRefused writes nothing and says why.
func TestImportProsodyRefused(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		want string
		args []string
	}{
		"no data":   {exitUsage, "--no-data", []string{"--config", prosodySamples + "/plain/etc/prosody.cfg.lua"}},
		"no file":   {exitUsage, "no such file", []string{"--config", prosodySamples + "/plain/none.lua", "--no-data"}},
		"no dir":    {exitUsage, "no such file", []string{"--config", prosodySamples + "/plain/etc/prosody.cfg.lua", "--data", prosodySamples + "/none"}},
		"not Lua":   {exitUsage, "main.go:1:", []string{"--config", "main.go", "--no-data"}},
		"root":      {exitUsage, "is not in", []string{"--config", prosodySamples + "/plain/etc/prosody.cfg.lua", "--root", t.TempDir(), "--no-data"}},
		"variable":  {exitUsage, "no such variable", []string{"--config", prosodySamples + "/plain/etc/prosody.cfg.lua", "--no-data", "--env", "POSTERN_NONE"}},
		"different": {exitError, "--per-host", []string{"--config", prosodySamples + "/refused/etc/prosody.cfg.lua", "--no-data"}},
		"tenant":    {exitError, "no tenant id", []string{"--config", prosodySamples + "/plain/etc/prosody.cfg.lua", "--no-data", "--tenant", "A B"}},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		code, out, errOut := policyctl("", append([]string{"import", "prosody", "-o", dir}, c.args...)...)
		if code != c.code || !strings.Contains(errOut, c.want) || out != "" {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errOut)
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%s: wrote %v", name, files)
		}
	}
}
