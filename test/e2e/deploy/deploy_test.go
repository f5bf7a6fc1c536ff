//go:build e2e

package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxExposure is the highest exposure that systemd-analyze may find in a unit, on
// its scale from 0 to 10.
const maxExposure = 1.5

// root returns the path of a file of the repository.
func root(t *testing.T, names ...string) string {
	t.Helper()
	top, err := filepath.Abs(filepath.Join(append([]string{"..", "..", ".."}, names...)...))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// output runs a program in a folder, with more variables, and returns all that it
// writes.
func output(t *testing.T, dir string, environ []string, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	// Inside make -j, the flags of that make would cause a warning of this one.
	c.Dir, c.Env = dir, append(append(os.Environ(), "MAKEFLAGS=", "MFLAGS="), environ...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// TestUnits: systemd reads the units without a complaint, and finds them hardened.
func TestUnits(t *testing.T) {
	for _, unit := range []string{"postern-policyd.service", "postern-gateway.service"} {
		file := root(t, "deploy", "systemd", unit)
		out := output(t, "", nil, "systemd-analyze", "security", "--offline=true", "--no-pager", file)
		found := exposure.FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%s: no exposure in\n%s", unit, out)
		}
		if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > maxExposure {
			t.Errorf("%s: exposure %s, want at most %v\n%s", unit, found[1], maxExposure, out)
		}
		// The programs are not installed here, which verify finds too.
		verify := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", file)
		text, _ := verify.CombinedOutput()
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, unit) && !strings.Contains(line, "is not executable") {
				t.Errorf("verify: %s", line)
			}
		}
	}
}

// TestPackages builds the Debian packages and installs, upgrades and purges them
// with dpkg. An upgrade keeps an edited file.
func TestPackages(t *testing.T) {
	top := root(t)
	output(t, top, nil, "make", "--no-print-directory", "deb", "VERSION=1.0")
	work := t.TempDir()
	for _, folder := range []string{"old", "new"} {
		if err := os.Mkdir(filepath.Join(work, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	output(t, top, nil, "sh", "-c", `mv bin/deb/*_1.0_*.deb "$1/old/" && cp bin/release/policyctl.bash "$1/completion"`, "sh", work)

	// The next version has another default configuration.
	next := t.TempDir()
	output(t, top, nil, "sh", "-c", `cp -r deploy packaging LICENSE "$1/" && ln -s "$PWD/bin" "$1/bin" && cp go.mod "$1/"
		for f in policyd.toml gateway.toml; do echo '# a new comment' >>"$1/deploy/etc/$f"; done`, "sh", next)
	nfpm := strings.TrimSpace(output(t, top, nil, "make", "-s", "--no-print-directory", "print-nfpm"))
	for _, name := range []string{"policyctl", "policyd", "gateway"} {
		output(t, next, []string{"VERSION=1.1", "ARCH=" + strings.TrimSpace(output(t, top, nil, "go", "env", "GOARCH"))},
			"go", "run", nfpm, "package", "--packager", "deb", "--config", "deploy/debian/"+name+".yaml", "--target", filepath.Join(work, "new"))
	}

	script := root(t, "test", "e2e", "deploy", "upgrade.sh")
	args := []string{"unshare", "--mount", "sh", script, filepath.Join(work, "old"), filepath.Join(work, "new"), t.TempDir()}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	out := output(t, "", nil, args[0], args[1:]...)
	for _, step := range []string{"installed", "usable", "upgraded", "kept", "purged"} {
		if !strings.Contains(out, "step: "+step+"\n") {
			t.Errorf("no step %s in\n%s", step, out)
		}
	}
}

// TestAlerts: Prometheus reads the alerts, and they fire when they should.
func TestAlerts(t *testing.T) {
	dir := root(t, "deploy", "prometheus")
	output(t, dir, nil, "promtool", "check", "rules", "postern.rules.yml")
	output(t, dir, nil, "promtool", "test", "rules", "postern.rules_test.yml")
}

// TestLogrotate rotates the records as logrotate does. The records' owner and mode
// stay, and the old file is kept until the next rotation.
func TestLogrotate(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(root(t, "deploy", "logrotate", "postern-policyd"))
	if err != nil {
		t.Fatal(err)
	}
	// The folder and the user of a real installation, and the signal to its unit.
	said := filepath.Join(dir, "hup")
	config := strings.NewReplacer(
		"/var/lib/postern/", dir+"/", "    su postern postern\n", "",
		"systemctl kill --signal=HUP --kill-whom=main postern-policyd.service 2>/dev/null || true", "echo HUP >>"+said,
	).Replace(string(text))
	if strings.Contains(config, "systemctl") || strings.Contains(config, "/var/lib") {
		t.Fatalf("not replaced:\n%s", config)
	}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"decisions.jsonl", "admin.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output(t, dir, nil, "/usr/sbin/logrotate", "--force", "--state", filepath.Join(dir, "state"), conf)
	for name, want := range map[string]bool{
		"decisions.jsonl": false, "decisions.jsonl.1": true, "admin.jsonl": false, "admin.jsonl.1": true,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if hup, err := os.ReadFile(said); err != nil || string(hup) != "HUP\n" {
		t.Errorf("signals: %q, %v", hup, err)
	}
}

// TestConfigurations: the programs accept the configurations of the packages and of
// the containers, with the files that cluster init writes.
func TestConfigurations(t *testing.T) {
	bin := func(name string) string { return root(t, "bin", name) }
	dir := t.TempDir()
	data := []string{"POSTERN_POLICYD_DATA=" + filepath.Join(dir, "data"), "POSTERN_POLICYD_ADMIN_SOCKET=" + filepath.Join(dir, "run", "s")}
	output(t, dir, data, bin("policyd"), "--config", root(t, "deploy", "etc", "policyd.toml"), "--check")

	cluster := filepath.Join(dir, "cluster")
	output(t, dir, nil, bin("policyctl"), "cluster", "init", "--name", "trial", "--nodes", "n1=127.0.0.1,n2=127.0.0.2,n3=127.0.0.3",
		"--etc", filepath.Join(cluster, "n1"), "--out", cluster)
	// A node whose host is a name listens on all addresses.
	named := filepath.Join(dir, "named")
	output(t, dir, nil, bin("policyctl"), "cluster", "init", "--name", "trial", "--nodes", "n1=localhost,n2=n2,n3=n3",
		"--etc", filepath.Join(named, "n1"), "--out", named)
	output(t, dir, data, bin("policyctl"), "cluster", "create", "--data", filepath.Join(dir, "data"), "--name", "trial")
	for _, folder := range []string{cluster, named} {
		output(t, dir, data, bin("policyd"), "--config", filepath.Join(folder, "n1", "policyd.toml"), "--check")
	}

	seed := filepath.Join(dir, "gateway.nkey")
	if err := os.WriteFile(seed, []byte("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	edge := []string{
		"POSTERN_GATEWAY_ID=edge1", "POSTERN_GATEWAY_NATS_SEED_FILE=" + seed, "POSTERN_GATEWAY_CERTIFICATES_SELF_SIGNED=true",
		"POSTERN_GATEWAY_CERTIFICATES_DIRECTORY=", "POSTERN_GATEWAY_LISTEN_DIRECT_TLS=",
	}
	output(t, dir, edge, bin("gateway"), "--config", filepath.Join(cluster, "gateway", "gateway.toml"), "--check")
	output(t, dir, edge[1:], bin("gateway"), "--config", root(t, "deploy", "etc", "gateway.toml"), "--check")

	questions := filepath.Join(dir, "questions")
	const question = `{"id":1,"account":"alice@prosody.example","resource":"a","direction":"out","stanza":"<presence/>"}`
	if err := os.WriteFile(questions, []byte(question+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	answer := output(t, dir, nil, bin("policyctl"), "check", "-f", root(t, "deploy", "container", "trial.toml"), "--jsonl", questions)
	if !strings.Contains(answer, `"effect":"pass"`) && !strings.Contains(answer, `"effect": "pass"`) {
		t.Errorf("the tenant of the trial: %s", answer)
	}
	output(t, dir, nil, "/usr/bin/python3", "-c", "import sys, yaml\nfor name in sys.argv[1:]: assert yaml.safe_load(open(name)), name",
		root(t, "deploy", "container", "compose.yaml"), root(t, "deploy", "container", "ejabberd.yml"),
		root(t, "deploy", "debian", "policyd.yaml"), root(t, "deploy", "prometheus", "postern.rules.yml"))
}
