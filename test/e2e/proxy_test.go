//go:build e2e

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// proxied sets the backends of an installation to send the server PROXY
// headers.
func proxied(t *testing.T, in *installation.Installation, server *backend.Server) {
	t.Helper()
	for _, domain := range domains {
		if _, err := in.Policyctl(t.Context(), "", "domain", "set-backends", domain, "none+proxy://"+server.ProxyAddr()); err != nil {
			t.Fatal(err)
		}
	}
}

// ownServer starts a server and an installation for one test, because the test
// gets addresses banned.
func ownServer(t *testing.T, kind backend.Kind, config installation.Config) (target, *installation.Installation) {
	t.Helper()
	server, err := backend.Start(t.Context(), backend.Config{Kind: kind, Dir: t.TempDir(), Domains: domains, BanAfter: 5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	in, err := install(server, server.Addr(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	return target{name: "gateway before " + string(kind), server: server, startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile()}, in
}

// TestClientAddresses: with proxy = true on its backend, a server sees the
// address of each client and bans only that address. Without, it sees the
// gateway's address, and five wrong passwords of one client ban all clients.
func TestClientAddresses(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			tg, in := ownServer(t, kind, installation.Config{})
			proxied(t, in, tg.server)
			a := newAccount(t, tg.server, "alice", "alpha.test")
			for _, security := range securities {
				config := tg.clientConfig(t, a, security)
				config.From = "127.0.0.77"
				c := login(ctx, t, config)
				got, err := tg.server.AddressesOf(ctx, a.jid)
				if err != nil || !slices.Contains(got, config.From) || slices.ContainsFunc(got, func(s string) bool { return s != config.From }) {
					t.Errorf("%s: the server sees %v, %v", security, got, err)
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			// guess sends wrong passwords until the server refuses the connection.
			guess := func(from string) (last error) {
				t.Helper()
				for range 6 {
					config := tg.clientConfig(t, a, client.DirectTLS)
					config.Password, config.From = "wrong", from
					_, last = client.Login(ctx, config)
					if failed, ok := errors.AsType[*client.SASLError](last); !ok || failed.Condition != "not-authorized" {
						return last
					}
				}
				t.Fatal("no address is banned after six wrong passwords")
				return nil
			}
			if kind != backend.Ejabberd {
				return // only the configuration of Debian's ejabberd bans
			}
			from := func(address string) client.Config {
				config := tg.clientConfig(t, a, client.DirectTLS)
				config.From = address
				return config
			}
			if err := guess("127.0.0.66"); !strings.Contains(err.Error(), "policy-violation") {
				t.Errorf("the banned address gets %v", err)
			}
			login(ctx, t, from("127.0.0.77"))
			if c, err := client.Login(ctx, from("127.0.0.66")); err == nil {
				c.Close()
				t.Error("the guessing address is not banned")
			}
			for _, domain := range domains {
				if _, err := in.Policyctl(ctx, "", "domain", "set-backends", domain, "none://"+tg.server.Addr()); err != nil {
					t.Fatal(err)
				}
			}
			_ = guess("127.0.0.55")
			if c, err := client.Login(ctx, from("127.0.0.77")); err == nil {
				c.Close()
				t.Error("the gateway's address is not banned, so this test proves nothing")
			}
		})
	}
}

// TestBehindAProxy: the client's address that a trusted proxy sends reaches the
// server.
func TestBehindAProxy(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			tg, in := ownServer(t, kind, installation.Config{GatewaySettings: "[proxy]\ntrusted = [\"127.0.0.99/32\"]\n"})
			proxied(t, in, tg.server)
			a := newAccount(t, tg.server, "alice", "alpha.test")
			config := tg.clientConfig(t, a, client.DirectTLS)
			config.From, config.Header = "127.0.0.99", "PROXY TCP4 203.0.113.9 198.51.100.1 4711 5223\r\n"
			login(ctx, t, config)
			if got, err := tg.server.AddressesOf(ctx, a.jid); err != nil || !slices.Equal(got, []string{"203.0.113.9"}) {
				t.Errorf("the server sees %v, %v", got, err)
			}
			list, err := in.Policyctl(ctx, "", "session", "list", "--tenant", "lab", "--json")
			if err != nil || !strings.Contains(list, "203.0.113.9:4711") {
				t.Errorf("session list: %v: %s", err, list)
			}
			for name, c := range map[string]client.Config{
				"without a header":         {From: "127.0.0.99"},
				"a header from elsewhere":  {From: "127.0.0.98", Header: config.Header},
				"one that is not from TCP": {From: "127.0.0.99", Header: "PROXY UDP4 203.0.113.9 198.51.100.1 4711 5223\r\n"},
			} {
				other := config
				other.From, other.Header = c.From, c.Header
				if c, err := client.Login(ctx, other); err == nil {
					c.Close()
					t.Error(name + ": the client is let in")
				}
			}
		})
	}
}

// TestFail2Ban: Debian's Fail2Ban finds the addresses that guess passwords in a
// gateway's log.
func TestFail2Ban(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			server := shared.servers[backend.Prosody]
			in, err := install(server, server.Addr(), installation.Config{LogFormat: format})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := in.Stop(); err != nil {
					t.Error(err)
				}
			})
			tg := target{server: server, startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile()}
			a := newAccount(t, server, "alice", "alpha.test")
			for from, password := range map[string]string{"127.0.0.66": "wrong", "127.0.0.77": a.password} {
				for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-1"} {
					config := tg.clientConfig(t, a, client.DirectTLS)
					config.From, config.Password, config.Mechanism = from, password, mechanism
					if c, err := client.Login(ctx, config); err == nil {
						c.Close()
					} else if password == a.password {
						t.Error(err)
					}
				}
			}
			filter, err := filepath.Abs("../../packaging/fail2ban/postern-gateway.conf")
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(ctx, "fail2ban-regex", "-o", "ip", in.GatewayLog(), filter).CombinedOutput()
			if err != nil {
				t.Fatalf("fail2ban-regex: %v: %s", err, out)
			}
			if got := strings.Fields(string(out)); !slices.Equal(got, []string{"127.0.0.66", "127.0.0.66"}) {
				log, _ := os.ReadFile(in.GatewayLog())
				t.Errorf("found %v in\n%s", got, log)
			}
		})
	}
}
