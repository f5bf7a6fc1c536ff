// Command demo runs Postern in front of a private Prosody on this machine. It
// creates two tenants from policy files and gives a tour of what their accounts
// may do, with a real XMPP client library. It uses loopback only, keeps
// everything in one folder, and stops everything that it started.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/installation"
)

var (
	//go:embed acme.toml
	acmePolicy string
	//go:embed globex.toml
	globexPolicy string
	//go:embed demo.test.toml
	policyTests string
)

// The accounts of the demo. The passwords are for users that want to try them.
const (
	alice, alicePassword = "alice@alpha.test", "wonderland"
	kiosk, kioskPassword = "kiosk@alpha.test", "reception"
	bob, bobPassword     = "bob@beta.test", "builder"
)

// The addresses for the user's own client, if they are free.
const (
	startTLSAddr  = "127.0.0.1:5222"
	directTLSAddr = "127.0.0.1:5223"
)

// tourTimeout bounds the start and the tour together.
const tourTimeout = 5 * time.Minute

func main() {
	once := flag.Bool("once", false, "exit after the tour")
	bin := flag.String("bin", "bin", "folder of gateway, policyd and policyctl")
	dir := flag.String("dir", ".demo", "folder for all files; emptied first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, *bin, *dir, *once); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts everything, gives the tour, waits for Ctrl-C unless once is set,
// and stops everything.
func run(ctx context.Context, bin, dir string, once bool) (err error) {
	began := time.Now()
	d, err := start(ctx, bin, dir)
	if d != nil {
		defer func() {
			say("Stopping everything.")
			err = errors.Join(err, d.stop())
		}()
	}
	if err != nil {
		return err
	}
	tourCtx, cancel := context.WithTimeout(ctx, tourTimeout)
	defer cancel()
	if err := d.tour(tourCtx); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C ended the command that ran, which is no failure
		}
		return fmt.Errorf("%w\nlogs are in %s", err, dir)
	}
	say("The tour took %.1f s, including the start.", time.Since(began).Seconds())
	if once {
		return nil
	}
	d.invite()
	<-ctx.Done()
	fmt.Println()
	return nil
}

// A demo holds the running programs.
type demo struct {
	server *backend.Server
	in     *installation.Installation
	dir    string
	trust  *tls.Config
}

// start starts Prosody, policyd and the gateway. A demo that it returns must be
// stopped, even if there is an error.
func start(ctx context.Context, bin, dir string) (*demo, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"prosody", "postern"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	d := &demo{dir: dir}
	domains := []string{"alpha.test", "beta.test"}
	say("Starting a private Prosody for %s.", strings.Join(domains, " and "))
	if d.server, err = backend.Start(ctx, backend.Config{Kind: backend.Prosody, Dir: filepath.Join(dir, "prosody"), Domains: domains}); err != nil {
		return nil, err
	}
	for account, password := range map[string]string{alice: alicePassword, kiosk: kioskPassword, bob: bobPassword} {
		if err := d.server.AddUser(ctx, account, password); err != nil {
			return d, err
		}
	}
	authority, err := os.ReadFile(d.server.CAFile())
	if err != nil {
		return d, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	d.trust = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	say("Starting policyd and a gateway.")
	certificate, key := d.server.FrontCertificate()
	d.in, err = installation.Start(ctx, installation.Config{
		Bin: bin, Dir: filepath.Join(dir, "postern"), Domains: domains,
		Certificate: certificate, Key: key,
		StartTLS: ifFree(startTLSAddr), DirectTLS: ifFree(directTLSAddr),
	})
	return d, err
}

// ifFree returns the address if it is free, otherwise "", which means any.
func ifFree(addr string) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return ""
	}
	l.Close()
	return addr
}

func (d *demo) stop() error {
	var errs []error
	if d.in != nil {
		errs = append(errs, d.in.Stop())
	}
	return errors.Join(append(errs, d.server.Stop())...)
}

// invite prints how to connect with one's own client.
func (d *demo) invite() {
	fmt.Printf(`
Everything keeps running until Ctrl-C. Connect with your own client on this machine:

  server      %s (STARTTLS) or %s (direct TLS), entered by hand in the client
  accounts    %s  password %s
              %s  password %s
              %s     password %s
  certificate signed by %s

and change what these accounts may do:

  export POSTERN_SOCKET=%s
  bin/policyctl role show --tenant acme acme:kiosk
  bin/policyctl member set-role --help

Logs are in %s.
`, d.in.StartTLS, d.in.DirectTLS, alice, alicePassword, kiosk, kioskPassword, bob, bobPassword,
		d.server.CAFile(), filepath.Join(d.dir, "postern", "admin", "policyd.sock"), d.dir)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
