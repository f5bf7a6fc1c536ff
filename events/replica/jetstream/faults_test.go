package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events/replica"
)

// follow follows the stream on a node from the entry after a number.
func follow(t *testing.T, n *node, after uint64) *book {
	t.Helper()
	b := new(book)
	background(t, func(ctx context.Context) error { return n.stream.Follow(ctx, after, b.add) })
	return b
}

// offer offers an entry until a follower has it, as replicas do.
func offer(t *testing.T, n *node, data []byte, b *book) {
	t.Helper()
	var offered time.Time
	eventually(t, fmt.Sprintf("%q is ordered", data), func() bool {
		if time.Since(offered) > 500*time.Millisecond {
			n.stream.Offer(data)
			offered = time.Now()
		}
		return b.has(data)
	})
}

func (b *book) has(data []byte) bool {
	return slices.ContainsFunc(b.all(), func(e replica.Entry) bool { return string(e.Data) == string(data) })
}

// checkSame checks that two nodes have read the same entries, as far as both have
// read.
func checkSame(t *testing.T, a, b *book) {
	t.Helper()
	x, y := a.all(), b.all()
	n := min(len(x), len(y))
	if !slices.EqualFunc(x[:n], y[:n], func(a, b replica.Entry) bool { return a.Seq == b.Seq && string(a.Data) == string(b.Data) }) {
		t.Errorf("two nodes have read different entries:\n%v\n%v", x, y)
	}
}

// TestServersStop stops each log server in turn, and first the leader of the stream.
// The other two go on, and the server that returns catches up.
func TestServersStop(t *testing.T) {
	t.Parallel()
	c, nodes := three(t)
	leader := slices.IndexFunc(nodes, func(n *node) bool {
		return strings.HasPrefix(n.server.Name(), nodes[0].stream.State().Leader+"-")
	})
	if leader < 0 {
		t.Fatalf("the leader is %q", nodes[0].stream.State().Leader)
	}
	books := make([]*book, 3)
	for i, n := range nodes {
		books[i] = follow(t, n, 0)
	}
	for k := range 3 {
		i := (leader + k) % 3
		other := (i + 1) % 3
		offer(t, nodes[other], batch("before stop %d", k), books[other])
		nodes[i].stop()
		c.Stop(i)
		begun := time.Now()
		offer(t, nodes[other], batch("during stop %d", k), books[other])
		t.Logf("stop %d: the next entry after %v", k, time.Since(begun).Round(time.Millisecond))
		nodes[i] = join(t, c, i, c.Start(i))
		books[i] = follow(t, nodes[i], 0)
		offer(t, nodes[i], batch("after stop %d", k), books[i])
		eventually(t, "the node that returns has all entries", func() bool { return books[i].has(batch("during stop %d", k)) })
		for _, b := range books {
			checkSame(t, b, books[i])
		}
		eventually(t, "the server that returns is current", func() bool {
			peers := nodes[other].stream.State().Peers
			return len(peers) == 3 && !slices.ContainsFunc(peers, func(p replica.SequencerPeer) bool { return !p.Current })
		})
	}
}

// TestNoMajority checks that nothing is ordered by one server of three, and that the
// order continues when a second one returns.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	c, nodes := three(t)
	b := follow(t, nodes[0], 0)
	offer(t, nodes[0], batch("before"), b)
	for i := 1; i < 3; i++ {
		nodes[i].stop()
		c.Stop(i)
	}
	for range 20 {
		nodes[0].stream.Offer(batch("alone"))
		pause(t.Context(), 100*time.Millisecond)
	}
	if b.has(batch("alone")) {
		t.Fatal("one server of three orders an entry")
	}
	join(t, c, 1, c.Start(1))
	offer(t, nodes[0], batch("again two"), b)
}

// TestCatchUp starts a node that lacks many entries.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	_, nodes := three(t)
	b := follow(t, nodes[0], 0)
	const count = 20_000
	for k := 0; k < count; {
		if len(nodes[0].stream.offers) < maxOffers {
			nodes[0].stream.Offer(batch("%d of many that a node lacks", k))
			k++
			continue
		}
		pause(t.Context(), time.Millisecond)
	}
	eventually(t, "one node has all entries", func() bool { return len(b.all()) == count })
	begun := time.Now()
	late := follow(t, nodes[1], 0)
	eventually(t, "the late node has all entries", func() bool { return len(late.all()) == count })
	took := time.Since(begun)
	t.Logf("%d entries in %v: %.0f a second", count, took.Round(time.Millisecond), count/took.Seconds())
	checkSame(t, b, late)
	last := follow(t, nodes[2], count-1)
	eventually(t, "the last entry", func() bool { return len(last.all()) == 1 && last.all()[0].Seq == count })
}

// TestLostRepublish takes away the publishing of ordered entries, so that a node
// notices them only by the stream's last number.
func TestLostRepublish(t *testing.T) {
	t.Parallel()
	_, nodes := three(t)
	var log journal
	watching := NewStream(StreamConfig{
		Conn: nodes[2].conn, Cluster: "acme", SyncAlways: nodes[2].server.SyncAlways, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	background(t, watching.Run)
	<-watching.Ready()
	b := follow(t, nodes[1], 0)
	offer(t, nodes[0], batch("published"), b)
	settings := newSettings("acme")
	delete(settings, "republish")
	api(t, nodes[0].conn, "$JS.API.STREAM.UPDATE."+streamName, settings)
	offer(t, nodes[0], batch("not published"), b)
	eventually(t, "the change is logged", func() bool { return log.has("the stream can lose commits") && log.has("setting republish is left out") })
}

// TestExpiredTicks checks that expired ticks are left out of the order, and that a
// node does not wait for them.
func TestExpiredTicks(t *testing.T) {
	t.Parallel()
	_, nodes := three(t)
	b := follow(t, nodes[0], 0)
	tick := []byte{2, 'x'}
	offer(t, nodes[0], batch("first"), b)
	offer(t, nodes[0], tick, b)
	eventually(t, "the tick expires", func() bool {
		e, err := leaderNext(t.Context(), nodes[0].conn, 2, logSubjects)
		return err == nil && string(e.Data) != string(tick)
	})
	offer(t, nodes[0], batch("last"), b)
	late := follow(t, nodes[1], 0)
	eventually(t, "a late node has the last entry", func() bool { return late.has(batch("last")) })
	if late.has(tick) {
		t.Error("the late node has the expired tick")
	}
	// A node that follows from after the tick needs nothing but the last entry.
	again := follow(t, nodes[2], 2)
	eventually(t, "a node that had the tick", func() bool { return again.has(batch("last")) })
}

// TestMissingBatch gives a follower an answer in which a batch is missing that the leader
// has, as a damaged server answers. A missing tick is usual.
func TestMissingBatch(t *testing.T) {
	t.Parallel()
	_, nodes := three(t)
	b := follow(t, nodes[0], 0)
	for _, data := range [][]byte{batch("first"), {2, 'x'}, batch("second"), {2, 'y'}, {2, 'z'}} {
		offer(t, nodes[0], data, b)
	}
	all := b.all()
	place := func(data ...byte) int {
		return slices.IndexFunc(all, func(e replica.Entry) bool { return string(e.Data) == string(data) })
	}
	for name, test := range map[string]struct {
		lost int // in all
		gap  bool
	}{
		"the last batch": {place(batch("second")...), true},
		"a tick":         {place(2, 'y'), false},
	} {
		f := &follower{stream: nodes[0].stream, fn: func([]replica.Entry) error { return nil }, next: 1}
		answer := slices.Delete(slices.Clone(all), test.lost, test.lost+1)
		if err := f.takeAll(t.Context(), answer); errors.Is(err, replica.ErrGap) != test.gap || err != nil && !test.gap {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestGapOf checks which gaps of an answer the leader is asked about.
func TestGapOf(t *testing.T) {
	entries := func(text string) (list []replica.Entry) { // a letter an entry, "-" a missing one
		for i, c := range text {
			switch c {
			case 'b':
				list = append(list, replica.Entry{Seq: uint64(i + 1), Data: batch("b")})
			case 't':
				list = append(list, replica.Entry{Seq: uint64(i + 1), Data: []byte{2}})
			}
		}
		return list
	}
	for text, want := range map[string][2]uint64{
		"": {}, "btbt": {}, "b-b": {}, "-t-b": {}, "-t": {1, 2}, "b-t": {2, 3}, "b-t--t": {2, 6}, "-b--tt": {3, 5},
	} {
		if from, to := gapOf(1, entries(text)); from != want[0] || to != want[1] {
			t.Errorf("%q: %d to %d, want %d", text, from, to, want)
		}
	}
}

// TestShort checks that a follower reports a stream that ends too early, but not one
// whose leader has just not counted its entries yet.
func TestShort(t *testing.T) {
	s := NewStream(StreamConfig{})
	s.state.Peers = []replica.SequencerPeer{{Name: "n1", Current: true}, {Name: "n2", Current: true}, {Name: "n3"}}
	f := &follower{stream: s, next: 11}
	at := time.Now()
	for _, test := range []struct {
		last  uint64
		after time.Duration
		short bool
	}{
		{last: 10}, {last: 9, after: time.Second}, {last: 9, after: 10 * time.Second}, {last: 10, after: 11 * time.Second},
		{last: 3, after: 20 * time.Second}, {last: 3, after: 34 * time.Second},
	} {
		s.state.Last, s.polled = test.last, at.Add(test.after)
		err := f.compare(t.Context())
		if errors.Is(err, replica.ErrShort) != test.short {
			t.Errorf("after %v the stream ends at %d: %v", test.after, test.last, err)
		}
	}
}

// TestShortAfterSuspension checks that two polls are not enough, however long the machine
// was suspended between them.
func TestShortAfterSuspension(t *testing.T) {
	s := NewStream(StreamConfig{})
	s.state.Peers = []replica.SequencerPeer{{Name: "n1", Current: true}, {Name: "n2", Current: true}, {Name: "n3", Current: true}}
	f := &follower{stream: s, next: 11, before: 11}
	at := time.Now()
	for poll := range shortPolls {
		s.state.Last, s.polled = 3, at.Add(time.Duration(poll)*time.Hour)
		err := f.compare(t.Context())
		if want := poll == shortPolls-1; errors.Is(err, replica.ErrShort) != want {
			t.Fatalf("poll %d: %v", poll+1, err)
		}
	}
}

// TestShortWithoutMajority checks that the number of a leader that a majority does not
// follow says nothing: a leader that was cut off on one side goes on to answer its own
// node, which may have read more from its successor.
func TestShortWithoutMajority(t *testing.T) {
	s := NewStream(StreamConfig{})
	f := &follower{stream: s, next: 11}
	s.state.Peers = []replica.SequencerPeer{{Name: "n1", Current: true}, {Name: "n2"}, {Name: "n3", Current: true, Offline: true}}
	at := time.Now()
	for second := range 40 {
		s.state.Last, s.polled = 3, at.Add(time.Duration(second)*time.Second)
		if err := f.compare(t.Context()); err != nil {
			t.Fatalf("after %d s: %v", second, err)
		}
	}
	s.state.Peers[1].Current = true
	for second := range 40 {
		s.polled = at.Add(time.Duration(40+second) * time.Second)
		err := f.compare(t.Context())
		if want := time.Duration(second)*time.Second >= shortFor; errors.Is(err, replica.ErrShort) != want {
			t.Fatalf("%d s after a majority follows: %v", second, err)
		}
	}
}

// TestBusy checks that entries that arrive after a poll do not make the stream look
// short, however long they keep coming.
func TestBusy(t *testing.T) {
	s := NewStream(StreamConfig{})
	s.state.Peers = []replica.SequencerPeer{{Name: "n1", Current: true}, {Name: "n2", Current: true}, {Name: "n3", Current: true}}
	f := &follower{stream: s, next: 1}
	at := time.Now()
	for second := range 60 {
		s.state.Last, s.polled = f.next-1, at.Add(time.Duration(second)*time.Second)
		f.next += 3 // published since the poll
		if err := f.compare(t.Context()); err != nil {
			t.Fatalf("after %d s: %v", second, err)
		}
	}
}

// TestReplaceServer loses the disk of a node, lets it come back as a new log server,
// and removes the former one. The stream then has its third copy on the new server.
func TestReplaceServer(t *testing.T) {
	t.Parallel()
	c, nodes := three(t)
	b := follow(t, nodes[0], 0)
	for k := range 100 {
		offer(t, nodes[0], batch("entry %d", k), b)
	}
	lost := nodes[2].server.Name()
	nodes[2].stop()
	c.Stop(2)
	if err := os.RemoveAll(c.Configs[2].Dir); err != nil {
		t.Fatal(err)
	}
	nodes[2] = join(t, c, 2, c.Start(2))
	eventually(t, "the former server is removed", func() bool {
		err := nodes[0].server.Remove(t.Context(), lost)
		return err == nil || strings.Contains(err.Error(), "it has no vote")
	})
	eventually(t, "the new server has a current copy", func() bool {
		return slices.ContainsFunc(nodes[0].stream.State().Peers, func(p replica.SequencerPeer) bool {
			return p.Name == nodes[2].server.Name() && p.Current
		})
	})
	late := follow(t, nodes[2], 0)
	eventually(t, "the new node has all entries", func() bool { return late.has(batch("entry 99")) })
	checkSame(t, b, late)
	// The new server's vote counts: the log continues without another one.
	nodes[0].stop()
	c.Stop(0)
	offer(t, nodes[1], batch("without the first"), late)
}

// TestDamagedStore flips a bit in the stream's file on one node. The node may lack
// entries then, which its replica notices by the hashes of the commits, but it never
// reads an entry that differs from the other nodes' one.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	c, nodes := three(t)
	b := follow(t, nodes[0], 0)
	const count = 60
	for k := range count {
		offer(t, nodes[0], batch("entry %d %01000d", k, k), b)
	}
	hurt := slices.IndexFunc(nodes, func(n *node) bool {
		return !strings.HasPrefix(n.server.Name(), nodes[0].stream.State().Leader+"-")
	})
	nodes[hurt].stop()
	c.Stop(hurt)
	flipped := 0
	for _, pattern := range []string{"jetstream/$G/streams/POSTERN/msgs/*.blk", "jetstream/$SYS/_js_/*/msgs/*.blk"} {
		files, err := filepath.Glob(filepath.Join(c.Configs[hurt].Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if i := strings.Index(string(text), "entry 30 "); i >= 0 {
				text[i+20] ^= 1
				flipped++
				if err := os.WriteFile(f, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if flipped == 0 {
		t.Fatal("no file holds the entry")
	}
	n := join(t, c, hurt, c.Start(hurt))
	other := nodes[(hurt+1)%3]
	live := follow(t, other, 0)
	offer(t, other, batch("after the damage"), live)
	eventually(t, "the damaged server answers", func() bool {
		return slices.ContainsFunc(other.stream.State().Peers, func(p replica.SequencerPeer) bool { return p.Name == n.server.Name() && p.Current })
	})
	late := follow(t, n, 0)
	eventually(t, "the node follows", func() bool { return late.has(batch("after the damage")) })
	want := map[uint64]string{}
	for _, e := range live.all() {
		want[e.Seq] = string(e.Data)
	}
	got := late.all()
	for _, e := range got {
		if want[e.Seq] != string(e.Data) {
			t.Errorf("entry %d differs on the damaged node", e.Seq)
		}
	}
	t.Logf("%d files were damaged; the node has %d entries of %d", flipped, len(got), len(want))
}
