//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/history"
)

const (
	// stanzaEach is how often an account sends a message.
	stanzaEach = 50 * time.Millisecond
	// commandTime bounds one attempt of a command at one node.
	commandTime = 10 * time.Second
	// againAfter is the wait before the next attempt.
	againAfter = 100 * time.Millisecond
	// resultWithin bounds all attempts of a command. When it is over, its outcome is
	// unknown.
	resultWithin = time.Minute
)

// message is the message of a worker. It is not archived (XEP-0334): the time in which
// ejabberd stores a message grows with the receiver's archive, until its receiver has
// messages minutes after they were handed over.
const message = "<message to='%s' id='%s' type='chat'><body>%s</body><no-store xmlns='urn:xmpp:hints'/></message>"

// A workload gives and takes the permission to write of some accounts, while each
// account writes as much as it may. It records everything with its times.
type workload struct {
	c        *cluster
	accounts []*worker
	began    time.Time

	mu      sync.Mutex // guards the fields below
	history history.History
	// commands are the ids of commands that were acknowledged.
	acknowledged []string
	// open are the messages that nobody has answered.
	open map[string]history.Stanza
	// ends counts the ends of sessions by their reason, and waits the stanzas that
	// were refused because no node answered.
	ends  map[string]int
	waits int
	slow  history.Stanza // the stanza with the longest time to its decision
}

// A worker is one account of the workload.
type worker struct {
	account
	tenant string
	kind   backend.Kind
	to     *peer
}

// newWorkload creates accounts on both servers, and peers that receive their
// messages without a gateway in between.
func newWorkload(ctx context.Context, t *testing.T, c *cluster, each int) *workload {
	t.Helper()
	w := &workload{c: c, began: time.Now(), open: map[string]history.Stanza{}, ends: map[string]int{}}
	for _, where := range []struct {
		tenant, domain string
		kind           backend.Kind
	}{{"lab", "alpha.test", backend.Prosody}, {"other", "gamma.test", backend.Ejabberd}} {
		c.do(ctx, t, 0, where.tenant, api.RoleDefine{Role: "talk", Allow: everything()})
		c.do(ctx, t, 0, where.tenant, api.RoleDefine{Role: "mute", Allow: everything(), Deny: []string{writePermission}})
		s := &site{target: target{server: shared.servers[where.kind]}}
		to := s.peer(t.Context(), t, "receiver", where.domain)
		for range each {
			a := newAccount(t, shared.servers[where.kind], "worker", where.domain)
			c.do(ctx, t, 0, where.tenant, api.MemberSet{JID: a.jid, Role: "talk"})
			w.accounts = append(w.accounts, &worker{account: a, tenant: where.tenant, kind: where.kind, to: to})
		}
	}
	return w
}

func (w *workload) now() time.Duration { return time.Since(w.began) }

// run works until ctx ends.
func (w *workload) run(ctx context.Context, t *testing.T) {
	var working sync.WaitGroup
	peers := map[*peer]bool{}
	for _, a := range w.accounts {
		if !peers[a.to] {
			peers[a.to] = true
			working.Go(func() { w.receive(ctx, a.to) })
		}
		working.Go(func() { w.command(ctx, t, a) })
		working.Go(func() {
			for ctx.Err() == nil {
				w.session(ctx, t, a)
			}
		})
	}
	working.Wait()
}

// receive records the messages that a peer gets.
func (w *workload) receive(ctx context.Context, p *peer) {
	for at := 0; ; {
		p.mu.Lock()
		got, more, err := p.got[at:], p.more, p.err
		p.mu.Unlock()
		now := w.now()
		for _, e := range got {
			if e.Stanza("message") && e.Attr("type") != "error" {
				w.decided(e.Attr("id"), now, true)
			}
		}
		at += len(got)
		if err != nil {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// decided records that a message was delivered or refused.
func (w *workload) decided(id string, at time.Duration, passed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.open[id]
	if !ok {
		return
	}
	delete(w.open, id)
	s.Decided, s.Passed = at, passed
	if s.Decided-s.Sent > w.slowest() {
		w.slow = s
	}
	w.history.Stanzas = append(w.history.Stanzas, s)
}

// slowest is the longest time from a stanza to its decision. The caller holds mu, or is
// alone.
func (w *workload) slowest() time.Duration { return w.slow.Decided - w.slow.Sent }

// command allows and forbids an account to write, in turns.
func (w *workload) command(ctx context.Context, t *testing.T, a *worker) {
	for allowed := false; ctx.Err() == nil; allowed = !allowed {
		role := "mute"
		if allowed {
			role = "talk"
		}
		write := history.Write{Account: a.jid, Allowed: allowed, Began: w.now(), Acked: history.Unknown}
		id := api.NewCommandID()
		// A command that has begun is finished, so that its outcome is known.
		err := w.persist(context.WithoutCancel(ctx), a.tenant, api.MemberSet{JID: a.jid, Role: role}, id)
		if err == nil {
			write.Acked = w.now()
		} else {
			t.Errorf("the outcome of a command on %s is unknown: %v", a.jid, err)
		}
		w.mu.Lock()
		w.history.Writes = append(w.history.Writes, write)
		if err == nil {
			w.acknowledged = append(w.acknowledged, id)
		}
		w.mu.Unlock()
		if err != nil {
			return // what follows could not be judged
		}
		wait(ctx, time.Second+rand.N(2*time.Second))
	}
}

// persist sends a command to one node after the other until one of them answers
// that it is carried out.
func (w *workload) persist(ctx context.Context, tenant string, cmd api.Command, id string) error {
	ctx, cancel := context.WithTimeout(ctx, resultWithin)
	defer cancel()
	for node := rand.IntN(len(w.c.admins)); ; node++ {
		attempt, cancel := context.WithTimeout(ctx, commandTime)
		result, err := w.c.admins[node%len(w.c.admins)].Do(attempt, tenant, cmd, api.CommandMeta{ID: id})
		cancel()
		if err == nil && !result.Changed {
			return fmt.Errorf("node %d says that there is nothing to do, at %d", node%len(w.c.admins)+1, result.Position)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		wait(ctx, againAfter)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// session logs in through a gateway and sends messages until the session ends.
func (w *workload) session(ctx context.Context, t *testing.T, a *worker) {
	tg := w.c.at(rand.IntN(len(w.c.Gateways)), a.kind)
	c, err := client.Login(ctx, tg.clientConfig(t, a.account, client.DirectTLS))
	if err != nil {
		w.ended("log in: " + stormReason(err))
		wait(ctx, againAfter)
		return
	}
	defer c.Vanish()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var reading sync.WaitGroup
	reading.Go(func() {
		defer cancel()
		w.read(ctx, c)
	})
	for ctx.Err() == nil {
		id := unique("m")
		w.mu.Lock()
		w.open[id] = history.Stanza{Account: a.jid, ID: id, Sent: w.now()}
		w.mu.Unlock()
		err := c.Send(ctx, fmt.Sprintf(message, client.Escape(a.to.c.JID), id, id))
		if err != nil {
			break
		}
		wait(ctx, stanzaEach)
	}
	cancel()
	reading.Wait()
}

// read records refusals until the session ends.
func (w *workload) read(ctx context.Context, c *client.Client) {
	for {
		e, err := c.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.ended("connection: " + stormReason(err))
			return
		case client.IsStreamError(e):
			w.ended(e.Condition())
			return
		case e.Stanza("message") && e.Attr("type") == "error":
			if e.Condition() == "internal-server-error" {
				w.unanswered(e.Attr("id"))
			} else {
				w.decided(e.Attr("id"), w.now(), false)
			}
		}
	}
}

// unanswered records a stanza that was refused because no node answered.
func (w *workload) unanswered(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, id)
	w.waits++
}

func (w *workload) ended(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[reason]++
}

// during runs f and returns what changed meanwhile: the ends of sessions that no
// command explains, and the stanzas refused because no node answered.
func (w *workload) during(f func()) (ends map[string]int, waits int) {
	w.mu.Lock()
	before, waited := maps.Clone(w.ends), w.waits
	w.mu.Unlock()
	f()
	w.mu.Lock()
	defer w.mu.Unlock()
	ends = map[string]int{}
	for reason, n := range w.ends {
		if n > before[reason] && reason != "reset" {
			ends[reason] = n - before[reason]
		}
	}
	return ends, w.waits - waited
}

// judge checks the history and the logs of all nodes.
func (w *workload) judge(ctx context.Context, t *testing.T, bound time.Duration) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	passed := 0
	for _, s := range w.history.Stanzas {
		if s.Passed {
			passed++
		}
	}
	t.Logf("%d commands, %d stanzas passed, %d refused, %d unanswered; slowest decision %v (of %s at %v, passed: %v); latest stanza after a revocation %v; ends %v",
		len(w.history.Writes), passed, len(w.history.Stanzas)-passed, w.waits, w.slowest(), w.slow.Account, w.slow.Sent, w.slow.Passed, w.history.Latest(), w.ends)
	if passed == 0 || passed == len(w.history.Stanzas) {
		t.Error("the history shows nothing: no stanza passed, or none was refused")
	}
	for _, v := range w.history.OneSided(bound) {
		t.Error(v)
	}
	explained, err := w.history.Linearizable(bound, time.Minute)
	if err != nil || !explained {
		t.Errorf("no order of the operations explains the answers: %v", err)
	}
	// The search for an order may have taken minutes.
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	count := map[string]int{}
	for _, e := range w.c.sameLogs(ctx, t) {
		count[e.CommandID]++
	}
	for _, id := range w.acknowledged {
		if count[id] != 1 {
			t.Errorf("the acknowledged command %s is in the log %d times", id, count[id])
		}
	}
	for id, n := range count {
		if n > 1 {
			t.Errorf("command %s is in the log %d times", id, n)
		}
	}
}

// errNoLeader means that no node's status names a leader.
var errNoLeader = errors.New("no node knows the leader")

// leader returns the index of the node that leads the log.
func (c *cluster) leader(ctx context.Context) (int, error) {
	for _, n := range c.Nodes {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		text, err := c.Metrics(asking, n.HTTP)
		cancel()
		if err != nil {
			continue
		}
		for at, n := range c.Nodes {
			if strings.Contains(text, fmt.Sprintf("postern_cluster_leader{copy=%q} 1", n.ID)) {
				return at, nil
			}
		}
	}
	return 0, errNoLeader
}
