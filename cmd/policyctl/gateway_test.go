package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// seedPublic returns the public key of a seed.
func seedPublic(t *testing.T, seed string) string {
	t.Helper()
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(seed)))
	if err != nil {
		t.Fatalf("%q: %v", seed, err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// TestGatewaySeeds: the seed that gateway add prints or writes belongs to the key that
// the node registers. It goes nowhere else, and is not left behind if the node refuses
// the gateway.
func TestGatewaySeeds(t *testing.T) {
	socket := startPolicyd(t)
	ctl := func(args ...string) (int, string, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket}, args...), strings.NewReader(""), &out, &errOut)
		return code, out.String(), errOut.String()
	}
	key := func(id string) string {
		t.Helper()
		_, list, _ := ctl("gateway", "list")
		m := regexp.MustCompile(`(?m)^` + id + ` .*(U[A-Z2-7]{55})$`).FindStringSubmatch(list)
		if m == nil {
			t.Fatalf("no key of %s:\n%s", id, list)
		}
		return m[1]
	}
	code, seed, said := ctl("gateway", "add", "edge1")
	if code != exitDone || !regexp.MustCompile(`^SU[A-Z2-7]{56}\n$`).MatchString(seed) || !strings.Contains(said, "not shown again") || strings.Contains(said, "SU") {
		t.Fatalf("exit %d, %q, %q", code, seed, said)
	}
	if seedPublic(t, seed) != key("edge1") {
		t.Error("the node registered another key")
	}

	file := filepath.Join(t.TempDir(), "edge2.nkey")
	if code, out, errOut := ctl("gateway", "add", "edge2", "--out", file); code != exitDone || strings.Contains(out+errOut, "SU") {
		t.Fatalf("exit %d, %q, %q", code, out, errOut)
	}
	written, err := os.ReadFile(file)
	if err != nil || seedPublic(t, string(written)) != key("edge2") {
		t.Errorf("%q, %v", written, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if code, _, errOut := ctl("gateway", "add", "edge3", "--out", file); code == exitDone || !strings.Contains(errOut, "file exists") {
		t.Errorf("over a file: exit %d, %s", code, errOut)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, written) {
		t.Errorf("the file was changed: %v", err)
	}
	if _, list, _ := ctl("gateway", "list"); strings.Contains(list, "edge3") {
		t.Errorf("registered without its seed:\n%s", list)
	}
	refused := filepath.Join(t.TempDir(), "again.nkey")
	if code, _, errOut := ctl("gateway", "add", "edge2", "--out", refused); code != exitError || !strings.Contains(errOut, "remove it first") {
		t.Errorf("the same id: exit %d, %s", code, errOut)
	}
	if _, err := os.Lstat(refused); err == nil {
		t.Error("the seed of a refused gateway is left")
	}

	code, out, errOut := ctl("--json", "gateway", "add", "edge4")
	var made struct {
		ID        string
		PublicKey string `json:"public_key"`
		Seed      string
		Position  uint64
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != exitDone || errOut != "" {
		t.Fatalf("exit %d, %q, %q, %v", code, out, errOut, err)
	}
	if made.ID != "edge4" || made.Position != 3 || seedPublic(t, made.Seed) != made.PublicKey || made.PublicKey != key("edge4") {
		t.Errorf("%+v", made)
	}
}

// TestGatewayAddUnclear: if the node does not answer, the user learns how to find out
// what was done. A seed in a file is kept, because it may be in force.
func TestGatewayAddUnclear(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "seed")
	silent, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `its seed is lost: remove it, then add it again`},
		{[]string{"--out", file}, `add it with --public-key U[A-Z2-7]{55}: its seed is in .*/seed`},
		{[]string{"--public-key", "UCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVZ45L"}, `command id [0-9a-f]{32}`},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket, "--timeout", "50ms", "gateway", "add", "edge1"}, c.args...), nil, &out, &errOut)
		if code != exitError || out.Len() > 0 || !regexp.MustCompile(c.want).MatchString(errOut.String()) {
			t.Errorf("%v: exit %d, %q, %q", c.args, code, out.String(), errOut.String())
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "SU") {
		t.Errorf("the file of the seed: %q, %v", text, err)
	}
}
