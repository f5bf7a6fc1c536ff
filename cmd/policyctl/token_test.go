package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRemote creates tokens at the real node, and administers the node with them
// over TLS.
func TestRemote(t *testing.T) {
	dir := t.TempDir()
	holder := httptest.NewTLSServer(nil) // for its certificate for 127.0.0.1
	holder.Close()
	pair := holder.TLS.Certificates[0]
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cert := write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})), 0o600)
	key := write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), 0o600)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	socket := startPolicyd(t, "POSTERN_POLICYD_ADMIN_LISTEN="+address, "POSTERN_POLICYD_ADMIN_CERT="+cert, "POSTERN_POLICYD_ADMIN_KEY="+key)
	ctl := func(args ...string) (int, string, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
		return code, out.String(), errOut.String()
	}
	local := func(args ...string) string {
		t.Helper()
		code, out, errOut := ctl(append([]string{"--socket", socket}, args...)...)
		if code != exitDone {
			t.Fatalf("%v: %s", args, errOut)
		}
		return out
	}
	local("tenant", "create", "acme")
	local("domain", "add", "alpha.test", "-t", "acme")
	local("tenant", "create", "bravo")
	local("domain", "add", "secret.test", "-t", "bravo", "-b", "none://127.0.0.1:1")
	local("service", "add", "rooms.alpha.test", "-t", "acme")
	local("service", "add", "--shared", "push.vendor.test")
	local("gateway", "add", "gateway", "--public-key", "UCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVZ45L")
	mint := func(args ...string) string {
		t.Helper()
		token := local(append([]string{"token", "create"}, args...)...)
		if !regexp.MustCompile(`^postern_[0-9a-f]{16}_[0-9a-f]{64}\n$`).MatchString(token) {
			t.Fatalf("printed %q", token)
		}
		return token
	}
	reader := write("reader", mint("look", "--scope", "read", "-t", "acme", "--expires", "90d"), 0o600)
	writer := write("writer", mint("do", "--scope", "write", "-t", "acme"), 0o600)
	all := write("all", mint("all", "--scope", "operator"), 0o600)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "acme.toml"), []byte(local("export", "acme")), 0o600); err != nil {
		t.Fatal(err)
	}
	open := write("open", mint("open", "--scope", "operator"), 0o644)

	for _, c := range []struct {
		token string
		args  string
		code  int
		want  string
	}{
		{reader, "member show bob@alpha.test", exitDone, "prosody:registered"},
		{writer, "plan -f " + folder, exitDone, "nothing to change"},
		{writer, "plan -f " + folder + " --prune", exitError, "--prune needs the list of all tenants: "},
		{writer, "apply -f " + folder + " --prune --yes", exitError, "--prune needs the list of all tenants: "},
		{all, "plan -f " + folder + " --prune", exitChanges, "tenant bravo (at version 2, without a file)"},
		{all, "domain show secret.test", exitDone, "none://127.0.0.1:1"},
		{all, "domain show secret.test", exitDone, "tenant        bravo"},
		{all, "domain show rooms.alpha.test", exitDone, "service"},
		{all, "domain show push.vendor.test", exitDone, "none: it is local to every tenant"},
		{all, "domain show nobodys.test", exitError, "nobodys.test belongs to no tenant"},
		{reader, "domain show Alpha.test", exitDone, "prosody:registered"},
		{reader, "domain show rooms.alpha.test", exitDone, "service"},
		{reader, "domain show push.vendor.test", exitDone, "shared service"},
		{reader, "domain show secret.test", exitError, "policyctl: secret.test is not a domain or service of tenant acme\n"},
		{reader, "domain show nobodys.test", exitError, "policyctl: nobodys.test is not a domain or service of tenant acme\n"},
		{reader, "service list --shared", exitDone, "push.vendor.test"},
		{reader, "service list -t acme", exitDone, "push.vendor.test (shared)"},
		{writer, "service add --shared x.test", exitError, "Your token does not allow this"},
		{writer, "service remove --shared push.vendor.test --yes", exitError, "Your token does not allow this"},
		{all, "service remove push.vendor.test --yes", exitUsage, "belongs to no tenant: give --shared"},
		{all, "service add --shared secret.test", exitError, "is a domain of tenant"},
		{writer, "gateway list", exitError, "Your token does not allow this"},
		{writer, "gateway add edge2", exitError, "Your token does not allow this"},
		{writer, "gateway remove gateway --yes", exitError, "Your token does not allow this"},
		{all, "gateway list", exitDone, "not heard since the node was started"},
		{reader, "token self", exitDone, "tenant read"},
		{reader, "member set-role bob@alpha.test prosody:guest", exitError, "Your token does not allow this"},
		{reader, "tenant show bravo", exitError, "Your token does not allow this"},
		{reader, "tenant list", exitError, "Your token does not allow this"},
		{reader, "session list --partial", exitDone, "missing: gateway"},
		{reader, "session list -t bravo", exitError, "Your token does not allow this"},
		{reader, "session show x -t bravo", exitError, "Your token does not allow this"},
		{reader, "session end x", exitError, "Your token does not allow this"},
		{reader, "session end x -t bravo", exitError, "Your token does not allow this"},
		{writer, "session end x", exitError, "not known whether the session was ended"},
		{writer, "session end x -t bravo", exitError, "Your token does not allow this"},
		{all, "session list --partial", exitDone, "missing: gateway"},
		{writer, "member set-role bob@alpha.test prosody:guest", exitDone, "position"},
		{writer, "token create x --scope operator", exitError, "Your token does not allow this"},
		{all, "tenant list", exitDone, "bravo"},
		{all, "tenant create gamma", exitDone, "gamma"},
		{all, "member suspend bob@alpha.test", exitDone, "suspended"},
		{writer, "member list -t acme", exitDone, "by the operator"},
		{writer, "member resume bob@alpha.test", exitError, `account "bob@alpha.test" was suspended by the operator: only an operator may resume it`},
		{writer, "domain remove alpha.test --yes", exitError, `"bob@alpha.test": only an operator may resume them or remove it`},
		{all, "member resume bob@alpha.test", exitDone, "resumed"},
		{open, "status", exitUsage, "chmod 600"},
		{filepath.Join(dir, "none"), "status", exitUsage, "no such file"},
		{cert, "status", exitUsage, "that is not a token"},
	} {
		code, out, errOut := ctl(append([]string{"--server", "https://" + address, "--ca", cert, "--token-file", c.token}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out+errOut, c.want) {
			t.Errorf("%s: exit %d, %s%s", c.args, code, out, errOut)
		}
	}
	// A server that is not trusted does not get the token.
	if code, _, errOut := ctl("--server", "https://"+address, "--token-file", all, "status"); code != exitError || !strings.Contains(errOut, "certificate") {
		t.Errorf("without --ca: exit %d, %s", code, errOut)
	}
	if code, _, errOut := ctl("--server", "http://node.example:1", "--token-file", all, "status"); code != exitUsage || !strings.Contains(errOut, "in clear") {
		t.Errorf("in clear: exit %d, %s", code, errOut)
	}
	// A policy file that asks for more than the token allows changes nothing.
	stranger := write("stranger", "postern_0123456789abcdef_"+strings.Repeat("0", 64)+"\n", 0o600)
	own := write("acme.toml", "tenant = \"acme\"\nname = \"Mine\"\n\n[[domain]]\nname = \"alpha.test\"\n", 0o600)
	others := write("bravo.toml", "tenant = \"bravo\"\nname = \"Mine\"\n", 0o600)
	fresh := write("fresh.toml", "tenant = \"fresh\"\n", 0o600)
	ceiling := write("ceiling.toml", "tenant = \"acme\"\nceiling = [\"xmpp:federate\"]\n\n[[domain]]\nname = \"alpha.test\"\n", 0o600)
	before := local("log", "--json")
	for _, c := range []struct{ token, file, plan, apply string }{
		{stranger, own, "does not know the token", "does not know the token"},
		{reader, own, "", "Your token does not allow this"},
		{reader, others, "Your token does not allow this", "Your token does not allow this"},
		{writer, others, "Your token does not allow this", "Your token does not allow this"},
		{writer, fresh, "Your token does not allow this", "Your token does not allow this"},
		{writer, ceiling, "", "Your token does not allow this"},
	} {
		args := []string{"--server", "https://" + address, "--ca", cert, "--token-file", c.token}
		if code, out, errOut := ctl(append(args, "plan", "-f", c.file)...); code != exitError && c.plan != "" || !strings.Contains(errOut, c.plan) {
			t.Errorf("%s: plan %s: exit %d: %s%s", c.token, c.file, code, out, errOut)
		}
		if code, out, errOut := ctl(append(args, "apply", "--yes", "-f", c.file)...); code != exitError || !strings.Contains(errOut, c.apply) {
			t.Errorf("%s: apply %s: exit %d: %s%s", c.token, c.file, code, out, errOut)
		}
		if now := local("log", "--json"); now != before {
			t.Fatalf("%s: %s: something was written: %s", c.token, c.file, now)
		}
	}
	id := regexp.MustCompile(`(?m)^([0-9a-f]{16}) +write`).FindStringSubmatch(local("token", "list"))
	if id == nil {
		t.Fatalf("no writer in the list:\n%s", local("token", "list"))
	}
	local("token", "revoke", id[1])
	if code, _, errOut := ctl("--server", "https://"+address, "--ca", cert, "--token-file", writer, "token", "self"); code != exitError || !strings.Contains(errOut, "was revoked") {
		t.Errorf("revoked: exit %d, %s", code, errOut)
	}
}
