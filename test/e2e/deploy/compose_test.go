//go:build e2e

package deploy

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A service is a container of the compose file.
type service struct {
	Image       string
	Command     []string
	Environment map[string]string
	Healthcheck struct{ Test []string }
	Volumes     []string
	Tmpfs       []string
	Ports       []string
	Networks    any
	ReadOnly    bool `json:"read_only"`
}

// compose reads the compose file with its anchors and merges resolved.
func compose(t *testing.T) (services map[string]*service, volumes []string) {
	t.Helper()
	text := output(t, "", nil, "/usr/bin/python3", "-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))",
		root(t, "deploy", "container", "compose.yaml"))
	var file struct {
		Services map[string]*service
		Volumes  map[string]any
	}
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services, slices.Collect(maps.Keys(file.Volumes))
}

// match returns the first group of an expression in a file of the container folder.
func match(t *testing.T, file, expression string) string {
	t.Helper()
	text, err := os.ReadFile(root(t, "deploy", "container", file))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(expression).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", file, expression)
	}
	return string(found[1])
}

// TestCompose checks each path, port, command and address of the compose file against
// the files that setup.sh makes and against the programs themselves. No container runs.
func TestCompose(t *testing.T) {
	services, named := compose(t)
	state := t.TempDir()
	// The command of setup.sh, with its own arguments.
	args := strings.Fields(match(t, "setup.sh", `policyctl (cluster init .*)`))
	nodes := map[string]bool{}
	for i, a := range args {
		switch args[max(0, i-1)] {
		case "--out":
			args[i] = filepath.Join(state, "files", strings.TrimPrefix(a, "/files/"))
		case "--nodes":
			for pair := range strings.SplitSeq(a, ",") {
				id, host, _ := strings.Cut(pair, "=")
				if id != host {
					t.Errorf("node %s has the host %s, which is no service", id, host)
				}
				nodes[id] = true
			}
		}
	}
	if err := os.Mkdir(filepath.Join(state, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	output(t, "", nil, root(t, "bin", "policyctl"), args...)
	const seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n"
	for _, edge := range []string{"edge1", "edge2"} {
		if err := os.WriteFile(filepath.Join(state, "files", edge+".nkey"), []byte(seed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	copied := match(t, "Containerfile", `(?m)^COPY --from=build (/out/.*) /usr/bin/$`)
	for name, s := range services {
		if s.Image != "postern" {
			continue
		}
		host := mounts(t, name, s, state, named)
		program := s.Command[0]
		if !slices.Contains(strings.Fields(copied), "/out/"+program) {
			t.Errorf("%s: the image has no program %s", name, program)
		}
		if !s.ReadOnly {
			t.Errorf("%s: its file system can be written", name)
		}
		// The program checks its configuration with the paths of the container put in
		// place of those of this machine.
		config := s.Command[slices.Index(s.Command, "--config")+1]
		text, err := os.ReadFile(host(config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		here := filepath.Join(t.TempDir(), "config.toml")
		replaced := regexp.MustCompile(`"(/[^"]+)"`).ReplaceAllStringFunc(string(text), func(p string) string { return `"` + host(strings.Trim(p, `"`)) + `"` })
		if err := os.WriteFile(here, []byte(replaced), 0o600); err != nil {
			t.Fatal(err)
		}
		var environ []string
		for key, value := range s.Environment {
			if strings.HasPrefix(value, "/") {
				value = host(value)
			}
			environ = append(environ, key+"="+value)
		}
		if nodes[name] {
			if !strings.Contains(string(text), `id = "`+name+`"`) {
				t.Errorf("%s runs as another node:\n%s", name, text)
			}
			// policyd's defaults, which the image has folders for.
			environ = append(environ, "POSTERN_POLICYD_DATA="+host("/var/lib/postern"), "POSTERN_POLICYD_ADMIN_SOCKET="+host("/run/postern/policyd.sock"))
			if want := []string{"CMD", "policyctl", "status"}; !slices.Equal(s.Healthcheck.Test, want) {
				t.Errorf("%s: the health check is %v", name, s.Healthcheck.Test)
			}
		}
		out := output(t, "", environ, root(t, "bin", program), "--config", here, "--check")
		if out != "" {
			t.Errorf("%s: %s", name, out)
		}
		for _, p := range s.Ports {
			if _, inside, _ := strings.Cut(p, ":"); inside != "5222" {
				t.Errorf("%s publishes its port %s, and the gateway listens on 5222", name, inside)
			}
		}
	}
	if len(nodes) != 3 || services["n1"] == nil || services["edge2"] == nil {
		t.Errorf("nodes %v", nodes)
	}
	backends(t, services)
}

// mounts returns a function that finds the path on this machine of a path in a
// container. It checks that each mounted file exists after setup.sh.
func mounts(t *testing.T, name string, s *service, state string, named []string) func(string) string {
	t.Helper()
	at := map[string]string{}
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		source, ok := strings.CutPrefix(parts[0], "./state/")
		switch {
		case ok:
			source = filepath.Join(state, source)
			if _, err := os.Stat(source); err != nil {
				t.Errorf("%s mounts %s, which setup.sh does not make: %v", name, parts[0], err)
			}
		case slices.Contains(named, parts[0]):
			source = filepath.Join(t.TempDir(), "volume") // it has the mode of the folder in the image
			if err := os.Mkdir(source, 0o700); err != nil {
				t.Fatal(err)
			}
		default:
			t.Errorf("%s mounts %s, which is no volume", name, parts[0])
		}
		at[parts[1]] = source
	}
	for _, v := range s.Tmpfs {
		dir, _, _ := strings.Cut(v, ":")
		place, err := os.MkdirTemp("", "run") // t.TempDir can be too long for a socket's path
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(place) })
		at[dir] = place
	}
	return func(path string) string {
		for target, source := range at {
			if rest, ok := strings.CutPrefix(path, target); ok && (rest == "" || rest[0] == '/') {
				return source + rest
			}
		}
		t.Errorf("%s: nothing is mounted at %s, and the image is read-only", name, path)
		return filepath.Join(state, "missing")
	}
}

// backends checks that the trial's tenants name the addresses and ports of the XMPP
// servers.
func backends(t *testing.T, services map[string]*service) {
	t.Helper()
	for server, port := range map[string]string{
		"prosody":  match(t, "prosody.cfg.lua", `c2s_ports = \{ (\d+) \}`),
		"ejabberd": match(t, "ejabberd.yml", `port: (\d+)`),
	} {
		text, err := json.Marshal(services[server].Networks)
		if err != nil {
			t.Fatal(err)
		}
		address := match(t, "trial.toml", `(?s)name = "`+server+`\.example".*?address = "([^"]+)"`)
		host, got, err := net.SplitHostPort(address)
		if err != nil || got != port || !strings.Contains(string(text), `"`+host+`"`) {
			t.Errorf("%s listens on port %s in %s, and the tenant names %s", server, port, text, address)
		}
	}
}
