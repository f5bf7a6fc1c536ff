//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/events/replica/jetstream"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/internal/natsserver/natsservertest"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
	"github.com/postern-im/postern/xmpp/stanza"
)

// benchClients is how many clients a gateway has when it dies. One machine with two
// cores logs in a few dozen a second.
var benchClients = flag.Int("clients", 100, "clients of the gateway that dies in BenchmarkCluster")

const (
	// askers is how many callers of each gateway ask at once.
	askers = 64
	// settle bounds the wait until a program has given back what it used.
	settle = 20 * time.Second
	// loginEach is how long the slowest machine needs for one login, of all that want to
	// log in at once. It bounds the time until the last client is in.
	loginEach = 200 * time.Millisecond
	// benchLimits let all clients of the benchmark connect from one address. Not all of
	// them may log in at the same moment: the others are refused, and try again.
	benchLimits = "[limits]\nper_address = 65536\nunauthenticated = 4096\n"
)

// BenchmarkCluster measures three real nodes and two real gateways, each figure
// beside its bound in the same run.
func BenchmarkCluster(b *testing.B) {
	c := newCluster(b, installation.ClusterConfig{GatewaySettings: benchLimits})
	ctx := b.Context()
	c.do(ctx, b, 0, "lab", api.RoleDefine{Role: "talk", Allow: everything()})
	b.Run("enforced", c.benchEnforced)
	b.Run("group=64", c.benchGroup)
	for gateways := 1; gateways <= 2; gateways++ {
		for nodes := 1; nodes <= len(c.Nodes); nodes++ {
			b.Run(fmt.Sprintf("cpu/nodes=%d/gateways=%d", nodes, gateways), func(b *testing.B) { c.benchCPU(b, nodes, gateways) })
		}
	}
	b.Run("death", c.benchDeath)
	b.Run("memory", c.benchMemory)
}

// benchEnforced changes a member at one node, and waits until the change is enforced
// everywhere. The bound is a bare publish into a stream of three log servers with
// the nodes' settings until another server's client has it. They take turns.
func (c *cluster) benchEnforced(b *testing.B) {
	ctx := b.Context()
	bare := newBareStream(b)
	var floor, acknowledged, everywhere []time.Duration
	role := 0
	for b.Loop() {
		floor = append(floor, bare.publish(b))
		role++
		begun := time.Now()
		done := c.do(ctx, b, 0, "lab", api.MemberSet{JID: "enforced@alpha.test", Role: []string{"talk", "prosody:member"}[role%2]})
		acknowledged = append(acknowledged, time.Since(begun))
		e, err := c.admins[0].Enforced(ctx, done.Position, api.MaxWait)
		if err != nil || !e.Enforced || e.By != "reported" {
			b.Fatalf("the position %d is not enforced everywhere: %+v, %v", done.Position, e, err)
		}
		everywhere = append(everywhere, time.Since(begun))
	}
	for name, times := range map[string][]time.Duration{"bare": floor, "acked": acknowledged, "enforced": everywhere} {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), name+"-p99-µs")
	}
	half := len(floor) / 2
	b.ReportMetric(float64(acknowledged[half])/float64(floor[half]), "acked/bare")
	b.ReportMetric(float64(everywhere[half])/float64(floor[half]), "enforced/bare")
}

// A bareStream is the stream of three log servers in this process, with nothing
// that follows it.
type bareStream struct {
	from *nats.Conn
	told *nats.Subscription
}

func newBareStream(b *testing.B) *bareStream {
	b.Helper()
	var conns []*nats.Conn
	servers := natsservertest.New(b, 3).StartAll()
	for _, s := range servers {
		conns = append(conns, insideConn(b, s))
	}
	stream := jetstream.NewStream(jetstream.StreamConfig{
		Conn: conns[0], Cluster: "acme", Create: true, SyncAlways: servers[0].SyncAlways, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = stream.Run(ctx) }) // its error shows as a stream that is never ready
	b.Cleanup(func() { cancel(); running.Wait() })
	select {
	case <-stream.Ready():
	case <-time.After(patience):
		b.Fatal("the stream of the bound is not ready")
	}
	told, err := conns[1].SubscribeSync("postern.told.>")
	if err != nil {
		b.Fatal(err)
	}
	if err := conns[1].Flush(); err != nil {
		b.Fatal(err)
	}
	return &bareStream{from: conns[0], told: told}
}

func insideConn(b *testing.B, s *natsserver.LogServer) *nats.Conn {
	b.Helper()
	public, err := s.Key().PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	conn, err := nats.Connect("", nats.InProcessServer(s), nats.Nkey(public, s.Key().Sign), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	return conn
}

// publish returns the time from the publish until the other server's client has the
// entry.
func (s *bareStream) publish(b *testing.B) time.Duration {
	b.Helper()
	begun := time.Now()
	if err := s.from.Publish("postern.log.bare", make([]byte, 256)); err != nil {
		b.Fatal(err)
	}
	if _, err := s.told.NextMsg(patience); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

// benchGroup gives a node commands from as many callers as share one append, and
// the same commands from one caller.
func (c *cluster) benchGroup(b *testing.B) {
	const callers = 64
	ctx := b.Context()
	set := func(caller, i int) error {
		_, err := c.admins[0].Do(ctx, "lab", api.MemberSet{JID: fmt.Sprintf("group%d@alpha.test", caller), Role: []string{"talk", "prosody:member"}[i%2]}, api.CommandMeta{})
		return err
	}
	const alone = 10
	begun := time.Now()
	for i := range alone {
		if err := set(callers, i); err != nil {
			b.Fatal(err)
		}
	}
	one := time.Since(begun) / alone
	b.ResetTimer()
	inParallel(b, callers, callers*b.N, set)
	all := b.Elapsed() / time.Duration(callers*b.N)
	b.ReportMetric(1/all.Seconds(), "commits/s")
	b.ReportMetric(one.Seconds()/all.Seconds(), "x-one-caller")
}

// inParallel makes n calls from callers at once.
func inParallel(b *testing.B, callers, n int, call func(caller, i int) error) {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if err := call(caller, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// benchCPU asks real nodes as gateways do. It reports the processor time of a
// decision at all three nodes and at the gateways' ends. The bound is the processor
// time of a bare NATS request and its answer at all ends.
func (c *cluster) benchCPU(b *testing.B, nodes, gateways int) {
	ctx := b.Context()
	c.do(ctx, b, 0, "lab", api.MemberSet{JID: "cpu@alpha.test", Role: "talk"})
	var ends []*overnats.Asker
	for range gateways {
		ends = append(ends, c.asker(b, nodes))
	}
	session := decision.Session{ID: []byte("s1"), Tenant: []byte("lab"), Account: []byte("cpu@alpha.test"), Resource: []byte("r")}
	admission, err := ends[0].Admit(ctx, "alpha.test")
	if err != nil {
		b.Fatal(err)
	}
	session.Opened, session.OpenedLog = admission.Position, []byte(admission.LogID)
	ask := func(caller, _ int) error {
		qs := []decision.Question{{ID: uint64(caller), Session: session, Desc: stanza.Descriptor{
			Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent, ID: []byte("m1"), HasID: true,
			Payloads: []stanza.Part{{Space: stanza.Client, Local: []byte("body")}},
		}}}
		vs := make([]decision.Verdict, 1)
		if err := ends[caller%gateways].Ask(ctx, qs, vs, settle); err != nil {
			return err
		}
		if vs[0].Effect != decision.Pass {
			return fmt.Errorf("the verdict is %+v", vs[0])
		}
		return nil
	}
	inParallel(b, askers*gateways, 1000, ask)
	echo := newEcho(b)
	pids := c.nodePIDs()
	b.ResetTimer()
	self := os.Getpid()
	before, own := cpuOf(b, pids...), cpuOf(b, self)
	inParallel(b, askers*gateways, b.N, ask)
	b.StopTimer()
	atNodes, atGateways := cpuOf(b, pids...)-before, cpuOf(b, self)-own
	own = cpuOf(b, self)
	inParallel(b, askers*gateways, b.N, func(int, int) error { _, err := echo.Request("echo", make([]byte, 200), settle); return err })
	bare := cpuOf(b, self) - own
	per := func(seconds float64) float64 { return seconds * 1e6 / float64(b.N) }
	b.ReportMetric(per(atNodes), "nodes-cpu-µs")
	b.ReportMetric(per(atGateways), "asker-cpu-µs")
	b.ReportMetric(per(bare), "echo-cpu-µs")
	b.ReportMetric((atNodes+atGateways)/bare, "cpu/echo")
}

// asker is the end of a new gateway that reaches some of the nodes.
func (c *cluster) asker(b *testing.B, nodes int) *overnats.Asker {
	b.Helper()
	id := strings.ReplaceAll(unique("bench"), "-", "") // a gateway id has no hyphen
	seed := filepath.Join(b.TempDir(), "seed")
	if _, err := c.Policyctl(b.Context(), 0, "", "gateway", "add", id, "--out", seed); err != nil {
		b.Fatal(err)
	}
	var links []overnats.LinkConfig
	for _, n := range c.Nodes[:nodes] {
		link := new(overnats.Link)
		conn, err := overnats.Connect(overnats.ConnectConfig{
			Link: link, URLs: []string{"nats://" + n.NATS()}, ServerName: "postern", SeedFile: seed, Name: id,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(conn.Close)
		links = append(links, overnats.LinkConfig{Name: n.ID, Conn: conn, Link: link})
	}
	a, err := overnats.New(overnats.Config{Links: links, Gateway: id, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil && ctx.Err() == nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() { cancel(); running.Wait() })
	return a
}

// newEcho starts a node's kind of NATS server in this process with a client inside
// that echoes, and returns the connection of a client that comes over TCP.
func newEcho(b *testing.B) *nats.Conn {
	b.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, NoSystemAccount: true})
	if err != nil {
		b.Fatal(err)
	}
	go s.Start()
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(settle) {
		b.Fatal("the server of the bound is not ready")
	}
	inside, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(inside.Close)
	if _, err := inside.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		b.Fatal(err)
	}
	if err := inside.Flush(); err != nil {
		b.Fatal(err)
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	return conn
}

func (c *cluster) nodePIDs() (pids []int) {
	for _, n := range c.Nodes {
		pids = append(pids, n.Program.PID())
	}
	return pids
}

func (c *cluster) allPIDs() []int {
	pids := c.nodePIDs()
	for _, g := range c.Gateways {
		pids = append(pids, g.Program.PID())
	}
	return pids
}

// cpuOf returns the processor time of processes in seconds.
func cpuOf(b *testing.B, pids ...int) (seconds float64) {
	b.Helper()
	const ticks = 100 // a second; the same on all Linux machines
	for _, pid := range pids {
		// The program's name, in parentheses, may contain spaces.
		_, text, _ := strings.Cut(procFile(b, pid, "stat"), ") ")
		fields := strings.Fields(text)
		for _, field := range fields[11:13] { // utime and stime, see proc(5)
			n, err := strconv.ParseFloat(field, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += n / ticks
		}
	}
	return seconds
}

func procFile(b *testing.B, pid int, name string) string {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// held returns the memory in MiB and the descriptors of all programs.
func (c *cluster) held(b *testing.B) (memory float64, descriptors int) {
	b.Helper()
	for _, pid := range c.allPIDs() {
		pages, err := strconv.ParseFloat(strings.Fields(procFile(b, pid, "statm"))[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		memory += pages * float64(os.Getpagesize()) / (1 << 20)
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			b.Fatal(err)
		}
		descriptors += len(open)
	}
	return memory, descriptors
}

// benchMemory lets clients log in at both gateways and write, and compares what all
// programs hold before, meanwhile and after.
func (c *cluster) benchMemory(b *testing.B) {
	ctx := b.Context()
	accounts := stormAccounts(b, shared.servers[backend.Prosody], *benchClients)
	targets := []target{c.at(0, backend.Prosody), c.at(1, backend.Prosody)}
	logInAll(ctx, b, targets, accounts[:2], true) // what is made once is there
	memory, descriptors := c.held(b)
	var loaded, after float64
	var open, left int
	for b.Loop() {
		clients := logInAll(ctx, b, targets, accounts, false)
		inParallel(b, len(clients), 50*len(clients), func(i, _ int) error {
			_, err := clients[i].Fence(ctx)
			return err
		})
		loaded, open = c.held(b)
		for _, cl := range clients {
			cl.Vanish()
		}
		for until := time.Now().Add(settle); ; {
			if after, left = c.held(b); left <= descriptors || time.Now().After(until) {
				break
			}
			<-time.After(100 * time.Millisecond)
		}
	}
	b.ReportMetric(memory, "base-MiB")
	b.ReportMetric(loaded/memory, "loaded/base-memory")
	b.ReportMetric(after/memory, "after/base-memory")
	b.ReportMetric(float64(descriptors), "base-descriptors")
	b.ReportMetric(float64(open)/float64(descriptors), "loaded/base-descriptors")
	b.ReportMetric(float64(left)/float64(descriptors), "after/base-descriptors")
}

// logInAll logs all accounts in at once, in turns at the targets. A client that is
// refused tries again after a second. With end, the sessions end at once.
func logInAll(ctx context.Context, b *testing.B, targets []target, accounts []account, end bool) []*client.Client {
	b.Helper()
	clients := make([]*client.Client, len(accounts))
	roots := targets[0].roots(b)
	var again atomic.Int64
	var all sync.WaitGroup
	for i, a := range accounts {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(len(accounts))*loginEach)
			defer cancel()
			for {
				cl, err := client.Login(ctx, client.Config{Address: targets[i%len(targets)].startTLS, Roots: roots, JID: a.jid, Password: a.password, Mechanism: "PLAIN"})
				if err == nil {
					clients[i] = cl
					return
				}
				if ctx.Err() != nil {
					b.Errorf("log in as %s: %v", a.jid, err)
					return
				}
				again.Add(1)
				wait(ctx, time.Second)
			}
		})
	}
	all.Wait()
	b.Logf("%d clients logged in, after %d attempts that were refused", len(accounts), again.Load())
	if b.Failed() {
		b.FailNow()
	}
	if end {
		for _, cl := range clients {
			cl.Vanish()
		}
	}
	return clients
}

// benchDeath kills a gateway. All its clients log in at the other one at once. The
// peer is the time that the same clients took to log in at the first gateway.
func (c *cluster) benchDeath(b *testing.B) {
	ctx := b.Context()
	accounts := stormAccounts(b, shared.servers[backend.Prosody], *benchClients)
	var first, again time.Duration
	for b.Loop() {
		begun := time.Now()
		clients := logInAll(ctx, b, []target{c.at(0, backend.Prosody)}, accounts, false)
		first += time.Since(begun)
		begun = time.Now()
		if err := c.Gateways[0].Program.Kill(); err != nil {
			b.Fatal(err)
		}
		for _, cl := range clients {
			cl.Vanish()
		}
		clients = logInAll(ctx, b, []target{c.at(1, backend.Prosody)}, accounts, false)
		again += time.Since(begun)
		for _, cl := range clients {
			cl.Vanish()
		}
		if err := c.StartGateway(ctx, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(accounts)*b.N)/again.Seconds(), "logins/s")
	b.ReportMetric(again.Seconds()/first.Seconds(), "x-first-login")
}
