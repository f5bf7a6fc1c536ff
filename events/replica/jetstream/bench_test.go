package jetstream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/postern-im/postern/events"
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

// BenchmarkAppend compares the time of an append with the least that the stream
// takes: from a bare publish until another node hears the entry. The two take turns,
// so that the load of the machine is the same for both. "own" is the time until
// Append returns, "all" until the logs of all nodes have the commit.
func BenchmarkAppend(b *testing.B) {
	nodes := servers(b)
	tr := &transport{serverOf: func(node string) *natsserver.LogServer {
		return nodes[slices.Index([]string{"n1", "n2", "n3"}, node)].server
	}}
	var all []*replicatest.Node
	for i := range 3 {
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
		bareEntry(b, nodes[0].conn)
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

// bareEntry publishes a tick that no node counts.
func bareEntry(b *testing.B, conn *nats.Conn) {
	m := &nats.Msg{Subject: "postern.log.bare", Data: []byte{2, 255}, Header: nats.Header{headerTTL: {tickTTL.String()}}}
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
