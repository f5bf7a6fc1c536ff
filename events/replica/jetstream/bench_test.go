package jetstream

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/replicatest"
	"github.com/postern-im/postern/internal/natsserver"
)

// BenchmarkCatchUp follows entries that a node lacks.
func BenchmarkCatchUp(b *testing.B) {
	_, nodes := three(b)
	const count = 50_000
	conn := nodes[0].conn
	for range count {
		if err := conn.Publish("postern.log.batch", batch("an entry of about two hundred bytes %0160d", 1)); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all are stored", func() bool { last, _ := nodes[0].stream.last(); return last == count })
	before := cpu(b)
	for b.Loop() {
		got := 0
		ctx, cancel := context.WithCancel(b.Context())
		_ = nodes[0].stream.Follow(ctx, 0, func(entries []replica.Entry) error {
			if got += len(entries); got == count {
				cancel()
			}
			return nil
		})
		if got != count {
			b.Fatalf("%d entries of %d", got, count)
		}
	}
	b.ReportMetric(count*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(cpu(b)-before)/float64(count*b.N), "cpu-ns/entry")
}

// cpu returns the processor time of this process, which says more than the clock on
// a busy machine.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// replicas runs a replica on each of three log servers, and returns when all are
// ready.
func replicas(b *testing.B, nodes []*node) (all []*replicatest.Node) {
	b.Helper()
	tr := &transport{serverOf: func(node string) *natsserver.LogServer {
		return nodes[slices.Index([]string{"n1", "n2", "n3"}, node)].server
	}}
	for i := range nodes {
		n, err := replicatest.Serve(replicatest.Config{
			Node: fmt.Sprintf("n%d", i+1), Creator: i == 0, Dir: b.TempDir(), Connect: tr.connect,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = n.Close() })
		all = append(all, n)
	}
	for _, n := range all {
		eventually(b, "the node is ready", func() bool { return n.Replica.Ready() == nil })
	}
	return all
}

// BenchmarkAppend compares the time of an append with the least that the stream
// takes: from a bare publish until another node hears the entry. The two take turns,
// so that the load of the machine is the same for both. "own" is the time until
// Append returns, "all" until the logs of all nodes have the commit.
func BenchmarkAppend(b *testing.B) {
	nodes := servers(b)
	all := replicas(b, nodes)
	told, err := nodes[1].conn.SubscribeSync("postern.told.bare")
	if err != nil {
		b.Fatal(err)
	}
	if err := nodes[1].conn.Flush(); err != nil {
		b.Fatal(err)
	}
	var bare, own, everywhere []time.Duration
	version := 0
	for b.Loop() {
		begun := time.Now()
		// An expired or unknown tick changes nothing in the replicas.
		bareEntry(b, nodes[0].conn, 2)
		if _, err := told.NextMsg(within); err != nil {
			b.Fatal(err)
		}
		bare = append(bare, time.Since(begun))

		version++
		at, _ := all[0].Head()
		begun = time.Now()
		if err := all[0].Append(b.Context(), at, benchCommit(version)); err != nil {
			b.Fatal(err)
		}
		own = append(own, time.Since(begun))
		var waiting sync.WaitGroup
		for _, n := range all {
			waiting.Go(func() {
				for p, _ := n.Head(); p <= at; p, _ = n.Head() {
					if _, err := n.Wait(b.Context(), p); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		waiting.Wait()
		everywhere = append(everywhere, time.Since(begun))
	}
	for name, times := range map[string][]time.Duration{"bare": bare, "own": own, "all": everywhere} {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), name+"-p99-µs")
	}
	b.ReportMetric(float64(everywhere[len(everywhere)/2])/float64(bare[len(bare)/2]), "all/bare")
}

// BenchmarkGroup compares commits in groups of 64, as one Append writes them, with
// bare entries of the same size: each is published when another node has heard the
// one before. The two take turns.
func BenchmarkGroup(b *testing.B) {
	const size = 64
	nodes := servers(b)
	all := replicas(b, nodes)
	told, err := nodes[1].conn.SubscribeSync("postern.told.bare")
	if err != nil {
		b.Fatal(err)
	}
	if err := nodes[1].conn.Flush(); err != nil {
		b.Fatal(err)
	}
	var bare, group time.Duration
	version := 0
	for b.Loop() {
		commits, bytes := make([]*events.Commit, size), 0
		for i := range commits {
			version++
			commits[i] = benchCommit(version)
			bytes += len(events.AppendCommit(nil, commits[i]))
		}
		begun := time.Now()
		bareEntry(b, nodes[0].conn, bytes)
		if _, err := told.NextMsg(within); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(begun)

		at, _ := all[0].Head()
		begun = time.Now()
		if err := all[0].Append(b.Context(), at, commits...); err != nil {
			b.Fatal(err)
		}
		group += time.Since(begun)
	}
	b.ReportMetric(float64(size*b.N)/group.Seconds(), "commits/s")
	b.ReportMetric(float64(size*b.N)/bare.Seconds(), "bare-commits/s")
	b.ReportMetric(group.Seconds()/bare.Seconds(), "append/bare")
}

// joinCommits is the length of the history that a new node copies.
var joinCommits = flag.Int("join", 100_000, "commits that a new node copies in BenchmarkJoin")

// BenchmarkJoin copies a history from one node into the empty log of another, over
// the log servers, as a new node does. The bound is the work that no copy avoids:
// the records are read from the one log, and their chain is checked. The two take
// turns.
func BenchmarkJoin(b *testing.B) {
	nodes := servers(b)
	full := filledLog(b, *joinCommits, 150)
	peers(b, nodes[0], 0, full)
	joining := peers(b, nodes[1], 1, filledLog(b, 0, 0))
	g := events.Generation{ID: [16]byte{1}, Cluster: replicatest.ClusterName, LogID: full.LogID()}
	g.Position, g.Hash = full.Head()
	var bound, join, worked time.Duration
	for b.Loop() {
		begun := time.Now()
		if err := checkChain(full); err != nil {
			b.Fatal(err)
		}
		bound += time.Since(begun)

		begun = time.Now()
		before := cpu(b)
		l, err := eventlog.Open(eventlog.Config{Dir: b.TempDir(), Clustered: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Bind(b.Context(), g, false); err != nil {
			b.Fatal(err)
		}
		err = joining.Copy(b.Context(), 1, g.Position, func(records [][]byte) error {
			return l.Take(b.Context(), events.Cursor{Generation: g.ID}, records)
		})
		if err := errors.Join(err, l.Settle(b.Context())); err != nil {
			b.Fatal(err)
		}
		join += time.Since(begun)
		worked += cpu(b) - before
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(*joinCommits*b.N)/join.Seconds(), "commits/s")
	b.ReportMetric(float64(*joinCommits*b.N)/worked.Seconds(), "commits/cpu-s")
	b.ReportMetric(float64(*joinCommits*b.N)/bound.Seconds(), "read-and-checked/s")
	b.ReportMetric(join.Seconds()/bound.Seconds(), "join/bound")
}

// checkChain reads a whole log, and checks that each record names the one before.
func checkChain(l *eventlog.Log) error {
	head, hash := l.Head()
	var previous [32]byte
	for at := events.Position(1); at <= head; {
		records, err := l.Records(at, 1<<20)
		if err != nil {
			return err
		}
		for _, r := range records {
			c, err := events.DecodeCommit(r)
			if err != nil {
				return err
			}
			if c.Previous != previous {
				return fmt.Errorf("the commit at %d does not name the one before", at)
			}
			previous = events.Hash(r)
			at++
		}
	}
	if previous != hash {
		return fmt.Errorf("the chain does not end in the head of the log")
	}
	return nil
}

// bareEntry publishes a tick of a size in bytes that no node counts.
func bareEntry(b *testing.B, conn *nats.Conn, size int) {
	data := make([]byte, size)
	data[0], data[1] = 2, 255
	m := &nats.Msg{Subject: "postern.log.bare", Data: data, Header: nats.Header{headerTTL: {tickTTL.String()}}}
	if err := conn.PublishMsg(m); err != nil {
		b.Fatal(err)
	}
}

func benchCommit(version int) *events.Commit {
	return &events.Commit{
		Tenant: "acme", TenantVersion: uint64(version), Time: time.Unix(1_763_890_200, 0), Actor: "operator:root",
		CommandID: fmt.Sprintf("command %d", version),
		Events:    []events.Event{events.MemberRolesSet{JID: "anna@alpha.test", Role: "lab:kiosk"}},
	}
}
