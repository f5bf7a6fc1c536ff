//go:build e2e

package backend_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// holdVariable makes this test binary start a server and wait to be killed.
const holdVariable = "POSTERN_TEST_HOLD"

// patience bounds all waiting of one server's test.
const patience = 2 * time.Minute

var kinds = []backend.Kind{backend.Prosody, backend.Ejabberd}

func TestMain(m *testing.M) {
	if kind := os.Getenv(holdVariable); kind != "" {
		hold(backend.Kind(kind))
	}
	os.Exit(m.Run())
}

// hold starts a server in the current folder, prints that it runs, and waits.
func hold(kind backend.Kind) {
	_, err := backend.Start(context.Background(), backend.Config{Kind: kind, Dir: ".", Domains: []string{"alpha.test"}})
	fmt.Println(err)
	select {}
}

func TestLifecycle(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			dir := t.TempDir()
			s, err := backend.Start(ctx, backend.Config{Kind: kind, Dir: dir, Domains: []string{"alpha.test", "beta.test"}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			}()
			for i := range 40 {
				if err := s.AddUser(ctx, fmt.Sprintf("user-%d@beta.test", i), fmt.Sprintf("password %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			config := client.Config{
				Address: s.StartTLSAddr(), Roots: roots(t, s), JID: "user-7@beta.test", Password: "password 7",
			}
			if len(processesOf(t, dir)) == 0 {
				t.Fatal("found no process of a running server")
			}

			// A crash closes no stream, and leaves nothing behind.
			c := login(ctx, t, config)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if e, err := c.Next(ctx); err == nil || errors.Is(err, client.ErrFooter) {
				t.Errorf("after Kill: %s, %v", e, err)
			}
			if left := processesOf(t, dir); len(left) > 0 {
				t.Errorf("after Kill: %v", left)
			}
			if _, err := client.Connect(ctx, config); err == nil {
				t.Error("after Kill: the port is still open")
			}

			// Accounts and addresses survive it.
			before := s.StartTLSAddr()
			if err := s.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			if s.StartTLSAddr() != before {
				t.Errorf("the address changed from %s to %s", before, s.StartTLSAddr())
			}
			c = login(ctx, t, config)
			removesAccount(ctx, t, s, c)

			// An orderly stop closes the streams first. Now and then a server
			// closes the connection before that.
			c = login(ctx, t, client.Config{
				Address: s.Addr(), Security: client.Plain, JID: "user-8@beta.test", Password: "password 8", Mechanism: "PLAIN",
			})
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			e, err := c.Next(ctx)
			if err == nil && e.Condition() != "system-shutdown" {
				t.Errorf("after Stop: %s, %v", e, err)
			}
			if left := processesOf(t, dir); len(left) > 0 {
				t.Errorf("after Stop: %v", left)
			}
		})
	}
}

// removesAccount cancels the client's registration and expects the account to
// be gone.
func removesAccount(ctx context.Context, t *testing.T, s *backend.Server, c *client.Client) {
	t.Helper()
	if exists, err := s.HasUser(ctx, c.Bare()); err != nil || !exists {
		t.Errorf("%s exists: %v, %v", c.Bare(), exists, err)
	}
	if err := c.Send(ctx, "<iq type='set' id='gone'><query xmlns='jabber:iq:register'><remove/></query></iq>"); err != nil {
		t.Fatal(err)
	}
	for { // the answer may come before the server ends the session
		if _, err := c.Next(ctx); err != nil {
			break
		}
	}
	if exists, err := s.HasUser(ctx, c.Bare()); err != nil || exists {
		t.Errorf("%s exists after its removal: %v, %v", c.Bare(), exists, err)
	}
}

// TestDiesWithItsProgram kills a program that runs a server, and expects that
// nothing of the server is left.
func TestDiesWithItsProgram(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			dir := t.TempDir()
			program := exec.CommandContext(ctx, os.Args[0])
			program.Dir = dir
			program.Env = append(os.Environ(), holdVariable+"="+string(kind))
			output, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			said := make([]byte, 64)
			n, err := output.Read(said)
			if err != nil || string(said[:n]) != "<nil>\n" {
				t.Errorf("start: %s, %v", said[:n], err)
			}
			if len(processesOf(t, dir)) < 2 {
				t.Error("the server does not run")
			}
			if err := program.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := program.Wait(); err == nil {
				t.Error("the program ended by itself")
			}
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for left := processesOf(t, dir); len(left) > 0; left = processesOf(t, dir) {
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatalf("still running: %v", left)
				}
			}
		})
	}
}

// processesOf lists the processes that have the folder in their arguments, in
// their environment, or as their working directory.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var processes []string
	for _, process := range found {
		// A process that ends meanwhile, or a zombie, shows nothing here.
		arguments, _ := os.ReadFile(process + "/cmdline")
		environment, _ := os.ReadFile(process + "/environ")
		where, _ := os.Readlink(process + "/cwd")
		if bytes.Contains(arguments, []byte(dir)) || bytes.Contains(environment, []byte(dir)) || where == dir {
			processes = append(processes, fmt.Sprintf("%s %q", process, arguments))
		}
	}
	return processes
}

func roots(t *testing.T, s *backend.Server) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", s.CAFile())
	}
	return pool
}

func login(ctx context.Context, t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.Login(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // mostly, the server has closed it already
	return c
}
