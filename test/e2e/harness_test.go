//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// domains are hosts of every server. By convention one tenant owns alpha.test
// and beta.test with their muc, pubsub and upload services, and another tenant
// owns gamma.test.
var domains = []string{"alpha.test", "beta.test", "gamma.test"}

// unnamed are hosts of the shared servers that their certificates do not name.
var unnamed = []string{"delta.test", "epsilon.test"}

// administrator is an administrator of every server, once a test creates the
// account.
const administrator = "root@alpha.test"

// kinds are the servers that every scenario runs against.
var kinds = []backend.Kind{backend.Prosody, backend.Ejabberd}

// patience bounds the whole waiting of one test. All tests run at once on two
// cores.
const patience = 2 * time.Minute

// shared are the servers of this run. They are started once; each test creates
// its own accounts and rooms on them.
var shared struct {
	servers map[backend.Kind]*backend.Server
	dir     string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		err = os.RemoveAll(shared.dir)
	} else {
		fmt.Fprintln(os.Stderr, "the servers' logs are kept in", shared.dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// run starts the servers, runs the tests, and stops the servers.
func run(m *testing.M) (code int, err error) {
	if shared.dir, err = os.MkdirTemp("", "postern-e2e-"); err != nil {
		return 1, err
	}
	shared.servers = map[backend.Kind]*backend.Server{}
	var (
		starting sync.WaitGroup
		servers  = make([]*backend.Server, len(kinds))
		errs     = make([]error, len(kinds))
	)
	for i, kind := range kinds {
		starting.Go(func() {
			dir := filepath.Join(shared.dir, string(kind))
			if errs[i] = os.Mkdir(dir, 0o700); errs[i] == nil {
				servers[i], errs[i] = backend.Start(context.Background(), backend.Config{
					Kind: kind, Dir: dir, Domains: domains, Unnamed: unnamed, Admins: []string{administrator},
				})
			}
		})
	}
	starting.Wait()
	for i, s := range servers {
		if s != nil {
			shared.servers[kinds[i]] = s
			defer func() {
				if stopping := s.Stop(); err == nil {
					err = stopping
				}
			}()
		}
	}
	for _, err := range errs {
		if err != nil {
			return 1, err
		}
	}
	stop, err := startInstallations()
	defer func() {
		if stopping := stop(); err == nil {
			err = stopping
		}
	}()
	if err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// target is the place that clients connect to: a server, or a gateway before
// it.
type target struct {
	name                string
	server              *backend.Server // where the accounts are
	startTLS, directTLS string          // addresses; "" if there is none
	caFile              string          // of the authority that signed the certificates shown to clients
}

// direct returns the server itself as the target.
func direct(s *backend.Server) target {
	return target{
		name: string(s.Kind()), server: s,
		startTLS: s.StartTLSAddr(), directTLS: s.DirectTLSAddr(), caFile: s.CAFile(),
	}
}

// address is the address to connect to with this kind of security.
func (tg target) address(security client.Security) string {
	if security == client.DirectTLS {
		return tg.directTLS
	}
	return tg.startTLS
}

// roots are the certificates that clients trust.
func (tg target) roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(tg.caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", tg.caFile)
	}
	return pool
}

// account is an account on a server.
type account struct {
	jid, password string
}

// names counts the names given out, so that no two tests share a name.
var names atomic.Int64

// unique returns a name that nothing else in this run has.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%d", prefix, names.Add(1))
}

// newAccount creates an account with a random password. Its name begins with
// prefix.
func newAccount(t *testing.T, s *backend.Server, prefix, domain string) account {
	t.Helper()
	a := account{jid: unique(prefix) + "@" + domain, password: rand.Text()}
	if err := s.AddUser(t.Context(), a.jid, a.password); err != nil {
		t.Fatal(err)
	}
	return a
}

// clientConfig is the configuration of an account's test client. Fields may be
// changed before use.
func (tg target) clientConfig(t *testing.T, a account, security client.Security) client.Config {
	t.Helper()
	return client.Config{
		Address: tg.address(security), Security: security, Roots: tg.roots(t),
		JID: a.jid, Password: a.password,
	}
}

// login binds a session with the test client. It is closed at the end of the
// test.
func login(ctx context.Context, t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.Login(ctx, config)
	if err != nil {
		t.Fatalf("log in as %s at %s: %v", config.JID, config.Address, err)
	}
	t.Cleanup(func() {
		// The test or the server may have closed it already: no error here.
		_ = c.Close()
	})
	return c
}

// waiting returns a context that bounds all waiting of a test.
func waiting(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
