//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
)

// window is how many messages are in transit at once.
const window = 64

// BenchmarkDelivery sends headline messages, which no server stores, from one
// client to another: through the gateway and Prosody, and through Prosody
// alone. Both use TLS.
func BenchmarkDelivery(b *testing.B) {
	through, _ := through(backend.Prosody)
	for _, tg := range []target{direct(shared.servers[backend.Prosody]), through} {
		b.Run(strings.ReplaceAll(tg.name, " ", "-"), func(b *testing.B) {
			ctx := b.Context()
			sender, receiver := benchClient(ctx, b, tg), benchClient(ctx, b, tg)
			message := "<message type='headline' to='" + receiver.JID + "'><body>" + strings.Repeat("x", 64) + "</body></message>"
			b.ResetTimer()
			if err := deliver(ctx, sender, receiver, message, b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func benchClient(ctx context.Context, b *testing.B, tg target) *client.Client {
	b.Helper()
	a := account{jid: unique("bench") + "@alpha.test", password: "bench"}
	if err := tg.server.AddUser(ctx, a.jid, a.password); err != nil {
		b.Fatal(err)
	}
	c, err := client.Login(ctx, client.Config{Address: tg.startTLS, Roots: tg.roots(b), JID: a.jid, Password: a.password})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() }) // nothing depends on an orderly end
	return c
}

// deliver sends n messages in bursts of half a window and waits until all
// arrive.
func deliver(ctx context.Context, from, to *client.Client, message string, n int) error {
	const burst = window / 2
	received := make(chan error, 1)
	credit := make(chan struct{}, window)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for range n {
			e, err := to.Next(ctx)
			if err == nil && (!e.Stanza("message") || e.Attr("type") != "headline") {
				err = fmt.Errorf("instead of a message comes %s", e.Raw)
			}
			if err != nil {
				received <- err
				cancel()
				return
			}
			<-credit
		}
		received <- nil
	}()
	for left := n; left > 0; left -= burst {
		size := min(left, burst)
		for range size {
			select {
			case credit <- struct{}{}:
			case <-ctx.Done():
				return errors.Join(ctx.Err(), <-received)
			}
		}
		if err := from.Send(ctx, strings.Repeat(message, size)); err != nil {
			return err
		}
	}
	return <-received
}
