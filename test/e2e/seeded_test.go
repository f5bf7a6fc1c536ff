//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/mutants"
	"github.com/postern-im/postern/test/e2e/history"
	"github.com/postern-im/postern/test/e2e/installation"
)

const (
	// buildTime bounds the build of one program.
	buildTime = 10 * time.Minute
	// writingTime is how long the administrators of a schedule write.
	writingTime = 10 * time.Second
)

// A seeded is a bug of package mutants, and the schedule that reveals it.
type seeded struct {
	bug     string
	program string // the one with the bug: policyd or gateway
	// also are further changes without which the bug has no effect that a client
	// can see.
	also []mutants.Mutant
	// widen are changes that keep the program in the dangerous moment for longer. The
	// sound program has them too.
	widen    []mutants.Mutant
	schedule func(ctx context.Context, t *testing.T, config installation.ClusterConfig) error
}

// bugs are the bugs that real processes show. The one of package mutants that is not
// here is the wiped voter: the NATS server itself does not let it elect a leader, see
// docs/decisions/0033-porcupine.md. The simulator and package natsserver catch it.
var bugs = []seeded{
	{
		bug: "lease check removed", program: "gateway", schedule: staleNode,
		// A gateway checks the lease when it takes an answer and again when it hands a
		// stanza over. While only the second check is missing, a stanza is at most
		// decision.MaxAge too late, and the first refuses all others.
		also: []mutants.Mutant{{
			Name: "lease check removed where an answer is taken", File: "decision/overnats/flight.go",
			Old: "return f, ok && now-f.ProvenAt <= decision.Lease", New: "return f, ok",
		}},
	},
	{bug: "tick believed when sent", program: "policyd", schedule: staleNode},
	{bug: "outcome taken from a reply", program: "policyd", schedule: writers},
	{bug: "loser batch applied", program: "policyd", schedule: writers},
	{
		bug: "proof checked when asked and not at hand-over", program: "gateway", schedule: pausedGateway,
		widen: []mutants.Mutant{{
			Name: "the gateway waits with its verdicts", File: "gateway/session/act.go",
			Old: "\terr := p.sent(p.to.pass(bytes, ", New: pauseText + "\terr := p.sent(p.to.pass(bytes, ",
		}},
	},
	{
		bug: "cursor saved before records", program: "policyd", schedule: killedNode,
		widen: []mutants.Mutant{{
			Name: "the node waits before it saves records", File: "events/replica/replica.go",
			Old: "\terr := r.cfg.Log.Take(ctx, s.cursor, s.records)\n",
			New: pauseText + "\terr := r.cfg.Log.Take(ctx, s.cursor, s.records)\n",
		}},
	},
	{
		bug: "proof taken ahead of the View", program: "policyd", schedule: heldView,
		widen: []mutants.Mutant{{
			Name: "the node's View stays behind its log: the import", File: "node/follow.go",
			Old: "\t\"fmt\"\n", New: "\t\"fmt\"\n\t\"os\"\n",
		}, {
			Name: "the node's View stays behind its log", File: "node/follow.go",
			Old: "\t\t\tnext, err := n.view.Load().Apply(c)\n",
			New: "\t\t\tfor held := true; held && ctx.Err() == nil && n.cfg.ID == \"n1\"; {\n" +
				"\t\t\t\t_, err := os.Stat(os.Getenv(\"" + holdVariable + "\"))\n" +
				"\t\t\t\tif held = err == nil; held {\n\t\t\t\t\t<-time.After(100 * time.Millisecond)\n\t\t\t\t}\n\t\t\t}\n" +
				"\t\t\tnext, err := n.view.Load().Apply(c)\n",
		}},
	},
}

// pauseText keeps a program between two steps, in schedules that stop it there, for
// less than decision.MaxAge.
const pauseText = "\t<-time.After(500 * time.Millisecond)\n"

// holdVariable names a file. While the file exists, the View of the first node takes
// no commit, if the program is changed so.
const holdVariable = "POSTERN_TEST_HOLD"

// errCaught marks what a schedule finds wrong. Any other error means that the
// schedule did not happen.
var errCaught = errors.New("caught")

func caught(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errCaught, fmt.Errorf(format, args...))
}

// TestSeeded seeds bugs into the programs, and requires that the checks catch each
// of them on real processes, and find nothing wrong in the sound programs. Each bug
// needs a build and minutes, so the test runs in the soak form, or for the bugs
// with POSTERN_SEEDED in their names.
func TestSeeded(t *testing.T) {
	name := os.Getenv("POSTERN_SEEDED")
	for _, b := range bugs {
		if !soak() && name == "" || !strings.Contains(b.bug, name) {
			continue
		}
		t.Run(b.bug, func(t *testing.T) {
			bug, err := mutants.Named(b.bug)
			if err != nil {
				t.Fatal(err)
			}
			// The bug comes first: a change that widens a moment is made in it too.
			broken := append(append([]mutants.Mutant{bug}, b.also...), b.widen...)
			t.Run("sound", func(t *testing.T) {
				if err := b.schedule(t.Context(), t, b.build(t, b.widen)); err != nil {
					t.Errorf("the sound program: %v", err)
				}
			})
			t.Run("broken", func(t *testing.T) {
				err := b.schedule(t.Context(), t, b.build(t, broken))
				if !errors.Is(err, errCaught) {
					t.Fatalf("the bug is not caught: %v", err)
				}
				t.Log(err)
			})
		})
	}
}

// build builds the program with changes. Without a change it is the usual one.
func (b *seeded) build(t *testing.T, changes []mutants.Mutant) (config installation.ClusterConfig) {
	t.Helper()
	if len(changes) == 0 {
		return config
	}
	dir := t.TempDir()
	if err := buildWith(t.Context(), dir, changes, b.program); err != nil {
		t.Fatal(err)
	}
	if b.program == "gateway" {
		config.GatewayBin = dir
	} else {
		config.NodeBin = dir
	}
	return config
}

// buildWith builds programs with changes of the source, into a folder.
func buildWith(ctx context.Context, dir string, changes []mutants.Mutant, programs ...string) error {
	root := filepath.Join("..", "..")
	overlay, err := mutants.Overlay(root, dir, changes...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	args := []string{"build", "-overlay", overlay, "-o", dir}
	for _, program := range programs {
		args = append(args, "./cmd/"+program)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %q: %w: %s", programs, err, out)
	}
	return nil
}

// staleNode leaves a gateway with one node that is cut off from the others, and
// takes a permission away at another node. It finds stanzas that the gateway hands
// over after the lease.
func staleNode(ctx context.Context, t *testing.T, config installation.ClusterConfig) error {
	config.Gateways = 1
	c := newCluster(t, config)
	w := newWorkload(ctx, t, c, 1)
	a := w.accounts[0]
	stop := w.write(ctx, t, a)
	defer stop()
	wait(ctx, calm)
	c.Isolate(0)
	for other := 1; other < len(c.Nodes); other++ {
		c.Edge(0, other).Cut()
	}
	if err := w.revoke(ctx, a, 1, 2); err != nil {
		return err
	}
	wait(ctx, decision.Lease+5*overdue)
	stop()
	return w.late(t)
}

// heldView holds the View of a node, which follows the log all the same, and takes a
// permission away at another node. A gateway that reaches only the first node must
// not hand stanzas over after the lease.
func heldView(ctx context.Context, t *testing.T, config installation.ClusterConfig) error {
	hold := filepath.Join(t.TempDir(), "hold")
	t.Setenv(holdVariable, hold)
	config.Gateways = 1
	c := newCluster(t, config)
	w := newWorkload(ctx, t, c, 1)
	a := w.accounts[0]
	stop := w.write(ctx, t, a)
	defer stop()
	wait(ctx, calm)
	for other := 1; other < len(c.Nodes); other++ {
		c.Edge(0, other).Cut()
	}
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		return err
	}
	if err := w.revoke(ctx, a, 1, 2); err != nil {
		return err
	}
	wait(ctx, decision.Lease+5*overdue)
	stop()
	if err := os.Remove(hold); err != nil {
		return err
	}
	return w.late(t)
}

// pausedGateway pauses a gateway that has a verdict in hand, takes the permission
// away, and resumes the gateway after the lease.
func pausedGateway(ctx context.Context, t *testing.T, config installation.ClusterConfig) error {
	config.Gateways = 1
	c := newCluster(t, config)
	w := newWorkload(ctx, t, c, 1)
	a := w.accounts[0]
	stop := w.write(ctx, t, a)
	defer stop()
	wait(ctx, calm)
	if err := c.Gateways[0].Program.Pause(); err != nil {
		return err
	}
	err := w.revoke(ctx, a, 0, 1, 2)
	if err == nil {
		wait(ctx, decision.Lease+5*overdue)
	}
	if err := errors.Join(err, c.Gateways[0].Program.Resume()); err != nil {
		return err
	}
	wait(ctx, calm)
	stop()
	return w.late(t)
}

// write logs an account in again and again and sends messages, until the returned
// function is called.
func (w *workload) write(ctx context.Context, t *testing.T, a *worker) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() { w.receive(ctx, a.to) })
	working.Go(func() {
		for ctx.Err() == nil {
			w.session(ctx, t, a)
		}
	})
	return func() {
		cancel()
		working.Wait()
	}
}

// revoke forbids an account to write, at one of some nodes.
func (w *workload) revoke(ctx context.Context, a *worker, nodes ...int) error {
	ctx, cancel := context.WithTimeout(ctx, resultWithin)
	defer cancel()
	write := history.Write{Account: a.jid, Began: w.now()}
	cmd, id := api.MemberSet{JID: a.jid, Role: "mute"}, api.NewCommandID()
	for attempt := 0; ; attempt++ {
		err := w.c.try(ctx, nodes[attempt%len(nodes)], a.tenant, cmd, id)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return err
		}
		wait(ctx, againAfter)
	}
	write.Acked = w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.Writes = append(w.history.Writes, write)
	return nil
}

// try sends a command to a node once.
func (c *cluster) try(ctx context.Context, node int, tenant string, cmd api.Command, id string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	_, err := c.admins[node].Do(ctx, tenant, cmd, api.CommandMeta{ID: id})
	return err
}

// late finds stanzas that were handed over after the lease.
func (w *workload) late(t *testing.T) error {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d stanzas, the latest %v after the revocation", len(w.history.Stanzas), w.history.Latest())
	if len(w.history.Stanzas) == 0 {
		return errors.New("no stanza was sent")
	}
	if late := w.history.OneSided(decision.Lease + overdue); len(late) > 0 {
		return caught("%d stanzas: %w", len(late), late[0])
	}
	return nil
}

// A ledger holds the commands that nodes have acknowledged.
type ledger struct {
	mu  sync.Mutex
	ids []string // guarded by mu
}

// write writes at a node until ctx ends. A command that has begun is repeated at the
// same node until it is acknowledged or resultWithin is over.
func (l *ledger) write(ctx context.Context, c *cluster, node int) {
	for ctx.Err() == nil {
		cmd, id := api.MemberSet{JID: unique("member") + "@alpha.test", Role: "talk"}, api.NewCommandID()
		if err := c.try(context.WithoutCancel(ctx), node, "lab", cmd, id); err != nil {
			wait(ctx, againAfter)
			continue
		}
		l.mu.Lock()
		l.ids = append(l.ids, id)
		l.mu.Unlock()
	}
}

// audit compares the logs of some nodes, and finds acknowledged commands that are
// not in them exactly once.
func (l *ledger) audit(ctx context.Context, t *testing.T, c *cluster, nodes ...int) error {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d commands were acknowledged", len(l.ids))
	if len(l.ids) == 0 {
		return errors.New("no command was acknowledged")
	}
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	newest := uint64(0)
	for _, n := range nodes {
		if err := c.AwaitNode(ctx, n); err != nil {
			return caught("%w", err)
		}
		status, err := c.admins[n].Status(ctx)
		if err != nil {
			return err
		}
		newest = max(newest, status.Position)
	}
	for _, n := range nodes {
		for status := (api.Status{}); status.Position < newest; wait(ctx, againAfter) {
			var err error
			if status, err = c.admins[n].Status(ctx); err != nil || ctx.Err() != nil {
				return caught("%s has not reached %d: %w", c.Nodes[n].ID, newest, errors.Join(err, ctx.Err()))
			}
		}
		count := map[string]int{}
		for _, e := range c.wholeLog(ctx, t, n) {
			count[e.CommandID]++
			if count[e.CommandID] > 1 {
				return caught("command %s is in the log of %s twice", e.CommandID, c.Nodes[n].ID)
			}
		}
		for _, id := range l.ids {
			if count[id] != 1 {
				return caught("the acknowledged command %s is not in the log of %s", id, c.Nodes[n].ID)
			}
		}
	}
	return nil
}

// writers writes at all nodes at once, so that batches race for positions. Meanwhile
// one node is cut off from the others at times. It offers a batch then and hears
// nothing, and the others take the position.
func writers(ctx context.Context, t *testing.T, config installation.ClusterConfig) error {
	config.Gateways = 1
	c := newCluster(t, config)
	c.do(ctx, t, 0, "lab", api.RoleDefine{Role: "talk", Allow: everything()})
	var l ledger
	var failed error
	l.all(ctx, c, writingTime, func() {
		for range 2 {
			var leader int
			if leader, failed = c.awaitLeader(ctx); failed != nil {
				return
			}
			c.Isolate((leader + 1) % len(c.Nodes)) // the others need no election
			wait(ctx, calm)
			c.Mend()
			wait(ctx, calm)
		}
	})
	if failed != nil {
		return failed
	}
	return l.audit(ctx, t, c, 0, 1, 2)
}

// awaitLeader waits until the nodes know the leader, and returns its index.
func (c *cluster) awaitLeader(ctx context.Context) (leader int, err error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		if leader, err = c.leader(ctx); err == nil || ctx.Err() != nil {
			return leader, err
		}
		wait(ctx, againAfter)
	}
}

// all writes at all nodes, and meanwhile runs f, for some time at least.
func (l *ledger) all(ctx context.Context, c *cluster, long time.Duration, f func()) {
	writing, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	for node := range c.Nodes {
		working.Go(func() { l.write(writing, c, node) })
	}
	end := time.After(long)
	f()
	<-end
	stop()
	working.Wait()
}

// killedNode kills a node several times while all nodes write.
func killedNode(ctx context.Context, t *testing.T, config installation.ClusterConfig) error {
	config.Gateways = 1
	c := newCluster(t, config)
	c.do(ctx, t, 0, "lab", api.RoleDefine{Role: "talk", Allow: everything()})
	var l ledger
	var failed error
	l.all(ctx, c, writingTime, func() {
		for range 3 {
			wait(ctx, calm)
			if failed = c.Nodes[2].Program.Kill(); failed != nil {
				return
			}
			starting, cancel := context.WithTimeout(ctx, recovery)
			err := c.StartNode(starting, 2)
			cancel()
			if err != nil {
				failed = caught("%w", err)
				return
			}
		}
	})
	if failed != nil {
		return failed
	}
	return l.audit(ctx, t, c, 0, 1, 2)
}
