package negotiate

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

// TestInterrupted checks that a leg stops waiting when the gateway stops, even
// if a step of the negotiation sets a deadline after that.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, other := net.Pipe()
		defer other.Close()
		l := newLeg(conn, stream.Config{Limits: stream.PreAuthLimits()})
		ctx, cancel := context.WithCancel(t.Context())
		stop := l.release(ctx)
		defer stop()
		cancel()
		synctest.Wait()
		l.setDeadline(time.Now().Add(time.Hour))
		began := time.Now()
		if _, _, err := l.next(true); err == nil || time.Since(began) != 0 {
			t.Errorf("waited %v: %v", time.Since(began), err)
		}
		l.close(nil)
	})
}
