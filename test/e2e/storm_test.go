//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

const (
	// stormSize is how many clients log in at once.
	stormSize = 1000
	// smallStorm is more clients than may connect to a backend at once.
	smallStorm = 200
	// stormPatience is how long each client waits.
	stormPatience = 60 * time.Second
	// stormLimits let all clients connect from one address.
	stormLimits = "[limits]\nper_address = 4096\nunauthenticated = 4096\n"
)

// A storm is the result of many clients logging in at once.
type storm struct {
	in      int           // sessions bound
	took    time.Duration // from the first connect to the last session bound
	reasons map[string]int
}

func (s storm) String() string {
	text := fmt.Sprintf("%d got in, in %.1f s", s.in, s.took.Seconds())
	for _, reason := range slices.Sorted(maps.Keys(s.reasons)) {
		text += fmt.Sprintf("; %d: %s", s.reasons[reason], reason)
	}
	return text
}

// runStorm lets every account log in over STARTTLS once, all at the same
// moment. All sessions stay until the last client is logged in or has given up.
func runStorm(ctx context.Context, tg target, roots *x509.CertPool, accounts []account) storm {
	ctx, cancel := context.WithTimeout(ctx, stormPatience)
	defer cancel()
	var (
		result  = storm{reasons: map[string]int{}}
		mu      sync.Mutex // guards result and clients
		clients []*client.Client
		start   = make(chan struct{})
		began   time.Time
		all     sync.WaitGroup
	)
	for _, a := range accounts {
		all.Go(func() {
			<-start
			c, err := client.Login(ctx, client.Config{
				Address: tg.startTLS, Roots: roots, JID: a.jid, Password: a.password, Mechanism: "PLAIN",
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.reasons[stormReason(err)]++
				return
			}
			result.in++
			result.took = time.Since(began)
			clients = append(clients, c)
		})
	}
	began = time.Now()
	close(start)
	all.Wait()
	for _, c := range clients {
		c.Vanish()
	}
	return result
}

// stormReason returns an error's text without the parts that differ between
// clients.
func stormReason(err error) string {
	var network *net.OpError
	switch text := err.Error(); {
	case strings.Contains(text, "<stream:error>"):
		return text[strings.Index(text, "<stream:error>"):]
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &network):
		return network.Err.Error()
	default:
		return text
	}
}

// stormAccounts creates n accounts.
func stormAccounts(tb testing.TB, s *backend.Server, n int) []account {
	tb.Helper()
	accounts := make([]account, n)
	for i := range accounts {
		accounts[i] = account{jid: unique("storm") + "@alpha.test", password: "storm"}
		if err := s.AddUser(tb.Context(), accounts[i].jid, accounts[i].password); err != nil {
			tb.Fatal(err)
		}
	}
	return accounts
}

// stormTargets returns a server, and a gateway in front of it whose limits
// admit all clients.
func stormTargets(tb testing.TB, kind backend.Kind) []target {
	tb.Helper()
	server := shared.servers[kind]
	in, err := newInstallation(server, server.Addr(), stormLimits)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := in.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return []target{direct(server), {
		name: "gateway before " + string(kind), server: server,
		startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile(),
	}}
}

// BenchmarkStorm logs in many clients at once over STARTTLS: at the server
// alone, and through the gateway. It reports how many succeed, and the time as
// a ratio.
func BenchmarkStorm(b *testing.B) {
	targets := stormTargets(b, backend.Prosody)
	accounts := stormAccounts(b, targets[0].server, stormSize)
	var alone time.Duration
	for _, tg := range targets {
		b.Run(strings.ReplaceAll(tg.name, " ", "-"), func(b *testing.B) {
			var s storm
			for b.Loop() {
				s = runStorm(b.Context(), tg, tg.roots(b), accounts)
				b.Log(s)
			}
			if alone == 0 {
				alone = s.took
			}
			b.ReportMetric(float64(s.in), "in")
			b.ReportMetric(s.took.Seconds()/alone.Seconds(), "x-direct")
		})
	}
}

// TestStorm: if many clients connect at once, more than may connect to the
// backend at a time, all log in through the gateway. With POSTERN_SOAK=1 there
// are as many as in the benchmark, and at least as many must succeed as at the
// server alone.
func TestStorm(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			n, want := smallStorm, smallStorm
			targets := stormTargets(t, kind)
			if os.Getenv("POSTERN_SOAK") == "1" {
				n = stormSize
			}
			accounts := stormAccounts(t, targets[0].server, n)
			if n == stormSize {
				alone := runStorm(t.Context(), targets[0], targets[0].roots(t), accounts)
				t.Logf("alone: %v", alone)
				want = alone.in
			}
			behind := runStorm(t.Context(), targets[1], targets[1].roots(t), accounts)
			t.Logf("behind the gateway: %v", behind)
			if behind.in < want {
				t.Errorf("%d of %d get in, want %d", behind.in, n, want)
			}
		})
	}
}
