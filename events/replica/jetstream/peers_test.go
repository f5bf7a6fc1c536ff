package jetstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
)

// filledLog returns a log with n commits. Each has about size bytes.
func filledLog(t testing.TB, n, size int) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for done := 0; done < n; {
		var commits []*events.Commit
		for i := done; i < min(done+1000, n); i++ {
			commits = append(commits, &events.Commit{
				Tenant: "acme", TenantVersion: uint64(i + 1), Time: time.Unix(1_763_890_200, 0), Actor: "operator:root",
				CommandID: fmt.Sprintf("command %d", i), Reason: strings.Repeat("x", size),
				Events: []events.Event{events.MemberRolesSet{JID: "a@alpha.test", Role: "lab:kiosk"}},
			})
		}
		if err := l.Append(t.Context(), events.Position(done), commits...); err != nil {
			t.Fatal(err)
		}
		done += len(commits)
	}
	return l
}

// A failing source fails from one position on.
type failing struct {
	Source
	from  events.Position
	calls atomic.Int64
}

func (f *failing) Records(from events.Position, max int) ([][]byte, error) {
	f.calls.Add(1)
	if from >= f.from {
		return nil, errors.New("the disk is broken")
	}
	return f.Source.Records(from, max)
}

// peers runs the Peers of node i on a log server.
func peers(t testing.TB, n *node, i int, source Source) *Peers {
	t.Helper()
	p := NewPeers(PeersConfig{Conn: n.conn, Node: fmt.Sprintf("n%d", i+1), Source: source, Logger: slog.New(slog.DiscardHandler)})
	background(t, p.Run)
	return p
}

// servers starts three log servers and connects to each.
func servers(t testing.TB) []*node {
	t.Helper()
	c := natsservertest.New(t, 3)
	var nodes []*node
	for _, s := range c.StartAll() {
		nodes = append(nodes, &node{server: s, conn: connect(t, s)})
	}
	for _, n := range nodes {
		eventually(t, "the log servers see each other", func() bool { return len(n.server.Seen()) == 3 })
	}
	return nodes
}

func checkCopy(t *testing.T, got [][]byte, source Source, from, to events.Position) {
	t.Helper()
	if events.Position(len(got)) != to-from+1 {
		t.Fatalf("%d records, want those from %d to %d", len(got), from, to)
	}
	for len(got) > 0 {
		want, err := source.Records(from, events.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if len(got) == 0 {
				return
			}
			if !bytes.Equal(got[0], w) {
				t.Fatalf("record %d differs", from)
			}
			got, from = got[1:], from+1
		}
	}
}

// TestCopy copies while one node lacks the commits and another one fails in the
// middle.
func TestCopy(t *testing.T) {
	t.Parallel()
	nodes := servers(t)
	full, empty := filledLog(t, 3000, 1000), filledLog(t, 0, 0)
	broken := &failing{Source: full, from: 1500}
	peers(t, nodes[1], 1, broken)
	p := peers(t, nodes[0], 0, empty)
	var got [][]byte
	take := func(records [][]byte) error {
		for _, r := range records {
			got = append(got, bytes.Clone(r))
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := p.Copy(ctx, 1, 3000, take); err == nil || len(got) == 0 || broken.calls.Load() < 2 {
		t.Fatalf("from a broken node: %d records, %v", len(got), err)
	}
	sound := peers(t, nodes[2], 2, full)
	from := events.Position(len(got) + 1)
	ctx, cancel = context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := p.Copy(ctx, from, 2990, take); err != nil {
		t.Fatal(err)
	}
	checkCopy(t, got, full, 1, 2990)
	got = nil
	if err := p.Copy(ctx, 5, 5, take); err != nil {
		t.Fatal(err)
	}
	checkCopy(t, got, full, 5, 5)

	// A function that refuses the records ends the copy with its error.
	refusal := errors.New("not these")
	if err := p.Copy(ctx, 1, 10, func([][]byte) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("refused records: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := sound.Copy(short, 1, 3001, take); err == nil || !strings.Contains(err.Error(), "no other node has the commit 3001") {
		t.Errorf("a commit that no node has: %v", err)
	}
}

// TestTell checks that all nodes hear the newest state of a node.
func TestTell(t *testing.T) {
	t.Parallel()
	nodes := servers(t)
	heard := make([]atomic.Value, 3)
	var all []*Peers
	for i, n := range nodes {
		p := peers(t, n, i, filledLog(t, 0, 0))
		all = append(all, p)
		background(t, func(ctx context.Context) error {
			return p.Listen(ctx, func(state []byte) { heard[i].Store(string(state)) })
		})
	}
	for k := range 3 {
		want := fmt.Sprintf("state %d", k)
		for i := range heard {
			eventually(t, want, func() bool {
				all[k].Tell([]byte(want)) // the subscriptions spread over time
				return heard[i].Load() == want
			})
		}
	}
}
