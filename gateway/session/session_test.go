package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/stream"
)

// deciderFunc is a Decider that calls a function.
type deciderFunc func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error

func (f deciderFunc) Ask(ctx context.Context, qs []decision.Question, vs []decision.Verdict, _ time.Duration) error {
	return f(ctx, qs, vs)
}

// clock is a boot-time clock by the time of the synctest bubble.
func clock() time.Duration { return time.Duration(time.Now().UnixNano()) }

// justNow is the freshness of a verdict that was made without delay.
func justNow() decision.Freshness {
	return decision.Freshness{AskedAt: clock(), ProvenAt: clock()}
}

// passAll passes everything, with fresh verdicts.
func passAll(_ context.Context, qs []decision.Question, vs []decision.Verdict) error {
	for i := range qs {
		vs[i] = decision.Verdict{Effect: decision.Pass, Freshness: justNow(), LogID: testLog}
	}
	return nil
}

// testLog is the id of the log at whose position the sessions are opened.
const testLog = "log"

// A rig is a session between two pipes.
type rig struct {
	client, backend net.Conn
	session         *Session
	shared          *Shared
	done            chan error
	log             bytes.Buffer
	logMu           sync.Mutex
}

func (r *rig) Write(b []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(b)
}

// start runs a session, with the given clock if there is one. It must be called in
// a synctest bubble.
func start(t *testing.T, d deciderFunc, clocks ...boottime.Clock) *rig {
	t.Helper()
	r := &rig{done: make(chan error, 1)}
	var err error
	if r.shared, err = NewShared(d, slog.New(slog.NewTextHandler(r, nil))); err != nil {
		t.Fatal(err)
	}
	if r.shared.Clock = clock; len(clocks) > 0 {
		r.shared.Clock = clocks[0]
	}
	c := Config{
		Shared: r.shared,
		Who: decision.Session{
			ID: []byte("s1"), Tenant: []byte("acme"), Account: []byte("alice@a.test"), Resource: []byte("here"), Opened: 7,
		},
		LogID: testLog,
	}
	r.client, c.Client = net.Pipe()
	r.backend, c.Backend = net.Pipe()
	if r.session, err = New(c); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.session.Run(t.Context()) }()
	return r
}

// ended disconnects the client and returns the cause with which the session
// ended.
func (r *rig) ended() error {
	_ = r.client.Close()
	err := <-r.done
	_ = r.backend.Close()
	return err
}

// told returns the condition of the stream error with which a session ended.
func told(err error) string {
	if e, ok := errors.AsType[*stream.Error](err); ok {
		return e.Condition
	}
	return ""
}

// collect reads until the connection is closed.
func collect(c net.Conn) <-chan string {
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(c)
		got <- string(b)
	}()
	return got
}

// send writes in the background: a pipe has no buffer.
func send(c net.Conn, s string) { go func() { _, _ = io.WriteString(c, s) }() }

func TestQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []decision.Question
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			for _, q := range qs {
				q.Desc.ID = bytes.Clone(q.Desc.ID)
				asked = append(asked, q)
			}
			return passAll(ctx, qs, vs)
		})
		got := collect(r.backend)
		send(r.client, "<presence id='1'/><message id='2' to='bob@a.test'/> <presence id='3'/>")
		synctest.Wait()
		if err := r.ended(); told(err) != "" {
			t.Error(err)
		}
		if g := <-got; !strings.HasPrefix(g, "<presence id='1'/><message id='2' to='bob@a.test'/> <presence id='3'/>") {
			t.Errorf("backend got %q", g)
		}
		if len(asked) != 3 {
			t.Fatalf("%d questions", len(asked))
		}
		for i, q := range asked {
			if string(q.Session.Account) != "alice@a.test" || string(q.Session.Tenant) != "acme" || q.Session.Opened != 7 ||
				q.Direction != decision.Out || string(q.Desc.ID) != string(rune('1'+i)) || q.ID != asked[0].ID+uint64(i) {
				t.Errorf("question %d: %+v", i, q)
			}
		}
	})
}

// TestStaleVerdictIsAskedAgain checks that a verdict older than a second is not
// used when its stanza is written. The question is asked again under the same
// number.
func TestStaleVerdictIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []uint64
		asks := 0
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			asks++
			ids = append(ids, qs[len(qs)-1].ID)
			_ = passAll(ctx, qs, vs)
			if asks == 1 {
				vs[1].AskedAt = clock() - decision.MaxAge - time.Millisecond
				return nil
			}
			for i := range vs {
				vs[i] = decision.Verdict{Effect: decision.Drop, Freshness: justNow(), LogID: testLog}
			}
			return nil
		})
		got := collect(r.backend)
		send(r.client, "<presence/><iq id='1' type='get' to='bob@a.test'><a xmlns='b'/></iq>")
		synctest.Wait()
		if n := r.shared.Stale.Load(); n != 1 || asks != 2 || ids[0] != ids[1] {
			t.Errorf("%d stale, %d asks of %d", n, asks, ids)
		}
		asked := recall{memory: &r.session.memory}
		if asked.Outstanding(decision.In, addr(t, "bob@a.test"), []byte("1")) {
			t.Error("a request that was not handed over is outstanding")
		}
		r.ended()
		if g := <-got; g != "</stream:stream>" {
			t.Errorf("backend got %q", g)
		}
	})
}

// TestVerdictsThatAreAlwaysStale checks that such verdicts end the session and
// pass nothing.
func TestVerdictsThatAreAlwaysStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			_ = passAll(ctx, qs, vs)
			<-time.After(decision.MaxAge + time.Millisecond)
			return nil
		})
		got, _ := collect(r.backend), collect(r.client)
		send(r.client, "<presence/>")
		if err := <-r.done; told(err) != "system-shutdown" {
			t.Error(err)
		}
		if n := r.shared.Stale.Load(); n != maxStale+1 {
			t.Errorf("asked again %d times", n)
		}
		if g := <-got; g != "</stream:stream>" {
			t.Errorf("backend got %q", g)
		}
	})
}

// TestNothingPassesUndecided checks that a stanza without a decision, or one
// that could not be described, never passes, whatever the decider returns.
func TestNothingPassesUndecided(t *testing.T) {
	for name, d := range map[string]deciderFunc{
		"undecided": func(context.Context, []decision.Question, []decision.Verdict) error { return nil },
		"error after some": func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			return errors.New("broken")
		},
		"unknown effect": func(_ context.Context, _ []decision.Question, vs []decision.Verdict) error {
			vs[0] = decision.Verdict{Effect: 200, LogID: testLog}
			return nil
		},
		"panic": func(context.Context, []decision.Question, []decision.Verdict) error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, d)
				toBackend, toClient := collect(r.backend), collect(r.client)
				send(r.client, "<message to='bob@a.test'><body>hi</body></message>")
				synctest.Wait()
				r.ended()
				if g := <-toBackend; g != "</stream:stream>" {
					t.Errorf("backend got %q", g)
				}
				if g := <-toClient; !strings.Contains(g, "internal-server-error") {
					t.Errorf("client got %q", g)
				}
			})
		})
	}
	t.Run("a fault", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, passAll)
			toBackend, toClient := collect(r.backend), collect(r.client)
			send(r.client, "<iq type='get' id='1'/><message to='@'/><unknown xmlns='x'/><presence from='eve@a.test'/><presence/>")
			send(r.backend, "<message from='eve@a.test'><evil:x/></message>")
			synctest.Wait()
			r.ended()
			if g := <-toBackend; g != "<presence/></stream:stream>" {
				t.Errorf("backend got %q", g)
			}
			if g := <-toClient; strings.Contains(g, "evil") {
				t.Errorf("client got %q", g)
			}
			if n := strings.Count(r.log.String(), "could not be described"); n != 5 {
				t.Errorf("%d of 5 logged", n)
			}
		})
	})
}

// TestAPeerThatReadsNothing checks that a peer which does not read blocks its
// session for writeTimeout only.
func TestAPeerThatReadsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		stuck func(r *rig) net.Conn
		told  string
	}{
		"client":  {func(r *rig) net.Conn { return r.client }, ""},
		"backend": {func(r *rig) net.Conn { return r.backend }, "remote-connection-failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, passAll)
				other := r.client
				if c.stuck(r) == r.client {
					other = r.backend
				}
				got := collect(other)
				began := time.Now()
				send(other, "<presence from='alice@a.test'/>")
				err := <-r.done
				if took := time.Since(began); took < writeTimeout || took > writeTimeout+2*partingTimeout {
					t.Errorf("took %v", took)
				}
				if told(err) != c.told {
					t.Error(err)
				}
				if g := <-got; !strings.HasSuffix(g, "</stream:stream>") {
					t.Errorf("the other side got %q", g)
				}
				r.client.Close()
				r.backend.Close()
			})
		})
	}
}

// TestASlowPeer checks that a peer which reads a large stanza slowly gets all
// of it.
func TestASlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, passAll)
		text := "<message from='bob@a.test'><body>" + strings.Repeat("a", 5*writePiece) + "</body></message>"
		send(r.backend, text)
		var got []byte
		for len(got) < len(text) {
			<-time.After(writeTimeout - time.Second)
			piece := make([]byte, writePiece)
			n, err := io.ReadAtLeast(r.client, piece, min(writePiece, len(text)-len(got)))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, piece[:n]...)
		}
		if string(got) != text {
			t.Error("the stanza has changed on its way")
		}
		rest := collect(r.backend)
		r.ended()
		<-rest
	})
}

// TestBackPressure checks that a pump that waits for verdicts stops reading, and
// that it asks for at most one batch at a time.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		most := 0
		r := start(t, func(ctx context.Context, qs []decision.Question, vs []decision.Verdict) error {
			most = max(most, len(qs))
			select {
			case <-release:
			case <-ctx.Done():
				return ctx.Err()
			}
			return passAll(ctx, qs, vs)
		})
		got := collect(r.backend)
		written := make(chan int, 1)
		const stanzas = 10_000
		go func() {
			n := 0
			for range stanzas / 100 {
				m, err := io.WriteString(r.client, strings.Repeat("<presence/>", 100))
				if n += m; err != nil {
					break
				}
			}
			written <- n
		}()
		synctest.Wait()
		select {
		case n := <-written:
			t.Fatalf("%d bytes were read with no verdict", n)
		default:
		}
		close(release)
		<-written
		synctest.Wait()
		r.ended()
		if g := <-got; strings.Count(g, "<presence/>") != stanzas {
			t.Error("stanzas were lost")
		}
		if most > maxBatch {
			t.Errorf("%d questions at once", most)
		}
	})
}

// TestBuffersAreGivenBack checks that the memory of a huge stanza is released.
func TestBuffersAreGivenBack(t *testing.T) {
	b := newBatch(stream.Config{Limits: stream.ClientLimits()})
	for len(b.buf) < 200<<10 {
		b.buf = append(b.buf, b.room()[:1]...)
	}
	b.edits[1] = make([]byte, 0, 200<<10)
	b.replies = make([]byte, 0, 200<<10)
	b.reset()
	if cap(b.buf) > keepBuffer || cap(b.edits[1]) > keepBuffer || cap(b.replies) > keepBuffer || len(b.buf) != 0 {
		t.Errorf("kept %d, %d, %d", cap(b.buf), cap(b.edits[1]), cap(b.replies))
	}
	if len(b.room()) < firstBuffer/2 {
		t.Error("no room")
	}
}
