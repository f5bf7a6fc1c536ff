package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
)

// TestNothingPassesUnproven checks that a verdict which does not show its age, or
// shows that it is too old, passes no stanza, even if it was asked for just now. One
// such verdict among fresh ones is enough, because the stanzas share a write.
func TestNothingPassesUnproven(t *testing.T) {
	now := func(f decision.Freshness) decision.Freshness { return f }
	for name, spoil := range map[string]func(decision.Freshness) decision.Freshness{
		"proven too long ago": func(f decision.Freshness) decision.Freshness {
			f.ProvenAt -= decision.Lease + time.Millisecond
			return f
		},
		"never proven":         func(f decision.Freshness) decision.Freshness { f.ProvenAt = 0; return f },
		"never asked":          func(f decision.Freshness) decision.Freshness { f.AskedAt = 0; return f },
		"without any time":     func(decision.Freshness) decision.Freshness { return decision.Freshness{} },
		"proven in the future": func(f decision.Freshness) decision.Freshness { f.ProvenAt += time.Hour; return f },
		"asked in the future":  func(f decision.Freshness) decision.Freshness { f.AskedAt += time.Hour; return f },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spoil := spoil
				r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
					_ = passAll(ctx, qs, vs)
					vs[len(vs)/2].Freshness = spoil(vs[len(vs)/2].Freshness)
					spoil = now // the next verdicts are fresh
					return nil
				})
				got := collect(r.backend)
				send(r.client, "<presence/><presence id='2'/> <presence id='3'/>")
				synctest.Wait()
				if n := r.shared.Stale.Load(); n != 1 {
					t.Errorf("%d stale", n)
				}
				r.ended()
				if g := <-got; g != "<presence/><presence id='2'/> <presence id='3'/></stream:stream>" {
					t.Errorf("backend got %q", g)
				}
			})
		})
		t.Run(name+", always", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
					_ = passAll(ctx, qs, vs)
					vs[len(vs)/2].Freshness = spoil(vs[len(vs)/2].Freshness)
					return nil
				})
				got, _ := collect(r.backend), collect(r.client)
				send(r.client, "<presence/><presence id='2'/><presence id='3'/>")
				if err := <-r.done; told(err) != "system-shutdown" {
					t.Error(err)
				}
				if g := <-got; g != "</stream:stream>" {
					t.Errorf("backend got %q", g)
				}
			})
		})
	}
}

// TestUpToTheLease checks that a verdict passes at both bounds.
func TestUpToTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			_ = passAll(ctx, qs, vs)
			vs[0].ProvenAt -= decision.Lease
			vs[0].AskedAt -= decision.MaxAge
			return nil
		})
		got := collect(r.backend)
		send(r.client, "<presence/>")
		synctest.Wait()
		r.ended()
		if g := <-got; g != "<presence/></stream:stream>" || r.shared.Stale.Load() != 0 {
			t.Errorf("backend got %q", g)
		}
	})
}

// TestSuspended checks that a verdict which was fresh before the machine was
// suspended is asked for again after it. Go's clock stands still in suspend, and the
// boot-time clock does not.
func TestSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var suspended atomic.Int64
		asks := 0
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			asks++
			_ = passAll(ctx, qs, vs)
			for i := range vs {
				vs[i].AskedAt += time.Duration(suspended.Load())
				vs[i].ProvenAt += time.Duration(suspended.Load())
			}
			if asks == 1 {
				suspended.Add(int64(8 * time.Hour)) // between the answer and the hand-over
				return nil
			}
			for i := range vs {
				vs[i].Effect = decision.Drop // it was revoked overnight
			}
			return nil
		}, func() time.Duration { return clock() + time.Duration(suspended.Load()) })
		got := collect(r.backend)
		send(r.client, "<presence/>")
		synctest.Wait()
		if asks != 2 || r.shared.Stale.Load() != 1 {
			t.Errorf("asked %d times", asks)
		}
		r.ended()
		if g := <-got; g != "</stream:stream>" {
			t.Errorf("backend got %q", g)
		}
	})
}

// TestFreshWhenTheLockIsHeld checks that the clock is read with the lock held. A
// write to a slow peer can hold the lock for a minute, and a verdict grows old
// meanwhile.
func TestFreshWhenTheLockIsHeld(t *testing.T) {
	ours, peer := net.Pipe()
	defer peer.Close()
	defer ours.Close()
	leg := runningLeg{conn: ours}
	leg.clock = func() time.Duration {
		if leg.mu.TryLock() {
			leg.mu.Unlock()
			t.Error("freshness is checked without the lock")
		}
		return time.Hour
	}
	old := decision.Freshness{AskedAt: time.Hour - decision.MaxAge - 1, ProvenAt: time.Hour}
	if err := leg.pass([]byte("<presence/>"), old.Fresh); !errors.Is(err, errStale) {
		t.Errorf("a verdict that grew old: %v", err)
	}
}

// TestApplySaysWhetherItIsAnswered checks that a verdict which is not fresh does not
// show that a session may continue, and that it can still end the session.
func TestApplySaysWhetherItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, passAll)
		_, _ = collect(r.backend), collect(r.client)
		old := justNow()
		old.ProvenAt -= decision.Lease + 1
		for _, tt := range []struct {
			v    decision.Verdict
			want bool
		}{
			{decision.Verdict{}, false},
			{decision.Verdict{Effect: decision.Pass, LogID: testLog, Freshness: old}, false},
			{decision.Verdict{Effect: decision.Pass, LogID: testLog, Freshness: justNow()}, true},
			{decision.Verdict{Effect: decision.End, LogID: testLog, Freshness: old}, true},
		} {
			if got := r.session.Apply(&tt.v); got != tt.want {
				t.Errorf("%+v: answered is %v", tt.v, got)
			}
		}
		if err := <-r.done; told(err) == "" {
			t.Errorf("the session ended with %v", err)
		}
	})
}

// sink is a connection that takes everything at no cost.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkHandOver hands stanzas over to a peer that costs nothing, with the
// boot-time clock and with Go's clock, which it has replaced.
func BenchmarkHandOver(b *testing.B) {
	start := time.Now().Add(-time.Hour)
	for _, n := range []int{1, maxBatch} {
		for _, c := range []struct {
			name  string
			clock boottime.Clock
		}{{"boottime", boottime.Now}, {"go", func() time.Duration { return time.Since(start) }}} {
			b.Run(fmt.Sprintf("stanzas=%d/clock=%s", n, c.name), func(b *testing.B) {
				leg := runningLeg{conn: sink{}, clock: c.clock}
				var batch batch
				for i := range n {
					batch.entries = append(batch.entries, entry{q: i})
				}
				batch.vs = make([]decision.Verdict, n)
				text := make([]byte, 338)
				renew := 0
				b.ReportAllocs()
				for b.Loop() {
					if renew--; renew < 0 { // so that the verdicts stay fresh
						renew = 1000
						for i := range batch.vs {
							batch.vs[i].AskedAt, batch.vs[i].ProvenAt = c.clock(), c.clock()
						}
					}
					if err := leg.pass(text, func(now time.Duration) bool { return batch.fresh(0, n, now) }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
