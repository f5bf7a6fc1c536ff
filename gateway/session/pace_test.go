package session

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/internal/limit"
)

// TestPace checks that a client that sends too fast is read at its allowed
// rate, that all of its stanzas arrive, and that its server is not slowed down.
func TestPace(t *testing.T) {
	message := "<message to='bob@a.test'><body>" + strings.Repeat("a", 62) + "</body></message>" // 110 bytes
	for name, c := range map[string]struct {
		rates Rates
		by    int
		least time.Duration
	}{
		"bytes":   {Rates{Bytes: limit.PerSecond(11_000, 22_000)}, ThrottledBytes, 8 * time.Second},
		"stanzas": {Rates{Stanzas: limit.PerSecond(100, 200)}, ThrottledStanzas, 8 * time.Second},
		"both":    {Rates{limit.PerSecond(1<<20, 1<<20), limit.PerSecond(100, 200)}, ThrottledStanzas, 8 * time.Second},
		"none":    {Rates{}, ThrottledBytes, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, passAll)
				r.shared.Rates = c.rates // before anything is read
				began := time.Now()
				send(r.client, strings.Repeat(message, 1000))
				got := make([]byte, 1000*len(message))
				if _, err := io.ReadFull(r.backend, got); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < c.least-time.Second || took > c.least+time.Second {
					t.Errorf("took %s, want %s", took, c.least)
				}
				if string(got) != strings.Repeat(message, 1000) {
					t.Error("the stanzas have changed on their way")
				}
				waited := time.Duration(r.shared.Throttled[c.by].Load())
				if waited < c.least-time.Second || waited > c.least+time.Second {
					t.Errorf("%s counted", waited)
				}
				began = time.Now()
				send(r.backend, strings.Repeat("<presence from='bob@a.test/x'/>", 1000))
				if _, err := io.ReadFull(r.client, make([]byte, 31*1000)); err != nil || time.Since(began) > 0 {
					t.Errorf("the server: %v, %s", err, time.Since(began))
				}
				_ = r.ended()
			})
		})
	}
}

// TestPaceEnds checks that a session which waits because of its rate ends at
// once when asked to.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, passAll)
		r.shared.Rates = Rates{Stanzas: limit.PerSecond(1, 1)}
		toBackend, toClient := collect(r.backend), collect(r.client)
		send(r.client, strings.Repeat("<presence/>", 60))
		<-time.After(5 * time.Second)
		began := time.Now()
		r.session.End("reset", "")
		if err := <-r.done; told(err) != "reset" || time.Since(began) > 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = r.client.Close()
		_ = r.backend.Close()
		<-toBackend
		if got := <-toClient; !strings.Contains(got, "<reset") {
			t.Errorf("the client got %q", got)
		}
	})
}
