package overnats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/internal/floodlog"
)

// This file asks gateways which sessions they have, and has them end one: the
// Census is the node's end, the Attendance the gateway's. A gateway is asked
// on a subject of its own and answers on one that names it, to which no other
// may publish.

const (
	// answerWithin is how long gateways have to answer.
	answerWithin = 2 * time.Second
	// maxInquiries bounds what a gateway is asked and has not answered, and
	// what a node asks at the same time. What is over goes unanswered there,
	// and is an error here.
	maxInquiries = 8
	// maxGateways bounds the gateways a node remembers.
	maxGateways = 1024
)

// ErrManyInquiries: too many ask about sessions at the same time.
var ErrManyInquiries = errors.New("too many ask about sessions: try again")

// An Attendance answers what nodes ask about a gateway's sessions.
type Attendance struct {
	// Conn is the connection, made by Connect, and Gateway this gateway's id.
	Conn    *nats.Conn
	Gateway string
	// Sessions answers a query; it is called by one goroutine and must not
	// wait for a peer.
	Sessions func(*decision.SessionQuery) decision.SessionReply
}

// Serve answers, and says each second that the gateway is there, until ctx
// ends; then it says that the gateway goes.
func (a *Attendance) Serve(ctx context.Context) error {
	if err := checkID("gateway", a.Gateway); err != nil {
		return err
	}
	asked := make(chan *nats.Msg, maxInquiries)
	sub, err := a.Conn.ChanSubscribe(inquiryPrefix+a.Gateway+".*", asked)
	if err != nil {
		return fmt.Errorf("subscribe to questions about sessions: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already, which does the same
	tell := time.NewTicker(announceEach)
	defer tell.Stop()
	run := rand.Uint64()
	// Without a connection nobody hears any of it, and nobody needs to.
	_ = a.Conn.Publish(gatewayPrefix+a.Gateway, announcement(here, run))
	for {
		select {
		case <-ctx.Done():
			_ = a.Conn.Publish(gatewayPrefix+a.Gateway, announcement(goes, run))
			_ = a.Conn.FlushTimeout(flushWithin)
			return nil
		case <-tell.C:
			_ = a.Conn.Publish(gatewayPrefix+a.Gateway, announcement(here, run))
		case m := <-asked:
			a.answer(m)
		}
	}
}

func (a *Attendance) answer(m *nats.Msg) {
	node := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var q decision.SessionQuery
	if !decision.IsToken(node) || decision.DecodeSessionQuery(m.Data, &q) != nil {
		return // the node counts this gateway as one that has not answered
	}
	reply := a.Sessions(&q)
	reply.ID, reply.Gateway = q.ID, a.Gateway
	_ = a.Conn.Publish(presentPrefix+node+"."+a.Gateway, decision.AppendSessionReply(nil, &reply))
}

// A Census asks all gateways about their sessions, as one node.
type Census struct {
	conn *nats.Conn
	node string
	busy chan struct{} // holds a token for each Ask under way
	// often says that an id is used twice.
	often *floodlog.Logger

	mu sync.Mutex // guards what follows
	// known are the gateways that must answer: those it was told of, and
	// those that were heard of and have not said that they go. One that has
	// fallen silent stays: its sessions may live.
	known map[string]bool // true: told of
	// silent are those of known that let an inquiry go unanswered and were
	// not heard since. They are asked and, when they do not answer, missing;
	// but no list waits for them, which would cost each of its pages the time
	// one has to answer.
	silent map[string]bool
	// runs are those heard of each id.
	runs   map[string]*runs
	next   uint64
	open   map[uint64]*inquiry
	counts censusCounts
}

// An inquiry is one query under way.
type inquiry struct {
	query decision.SessionQuery
	// asked are those that have not answered: true where it is waited for.
	asked   map[string]bool
	waiting int // how many are waited for
	replies []decision.SessionReply
	bad     []string
	done    chan struct{} // closed when nobody is waited for
}

// Sessions are what gateways have answered.
type Sessions struct {
	// Sessions stand in the order of their Key.
	Sessions []decision.LiveSession
	// More: there are others behind the last one.
	More bool
	// Missing are the gateways that have not answered, or not credibly; with
	// any, the list is not whole.
	Missing []string
}

// NewCensus returns a Census that knows of no answer until Run. The gateways
// named are expected to be there. The log is told of an id that two gateways use.
func NewCensus(conn *nats.Conn, node string, gateways []string, log *slog.Logger) (*Census, error) {
	c := &Census{
		conn: conn, node: node, busy: make(chan struct{}, maxInquiries),
		known: map[string]bool{}, silent: map[string]bool{}, open: map[uint64]*inquiry{},
		runs: map[string]*runs{}, often: floodlog.New(floodlog.Config{Logger: log, Key: "gateway", Every: complainEach}),
	}
	for _, g := range gateways {
		if err := checkID("gateway", g); err != nil {
			return nil, err
		}
		c.known[g] = true
	}
	return c, checkID("node", node)
}

// Run hears gateways until ctx ends.
func (c *Census) Run(ctx context.Context) error {
	heard := make(chan *nats.Msg, maxGateways)
	for _, subject := range []string{gatewayPrefix + "*", presentPrefix + c.node + ".*"} {
		sub, err := c.conn.ChanSubscribe(subject, heard)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // as above
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-heard:
			c.hear(m)
		}
	}
}

// hear takes what a gateway has sent. Its name is the subject's, to which only
// it may publish.
func (c *Census) hear(m *nats.Msg) {
	if gateway, ok := strings.CutPrefix(m.Subject, gatewayPrefix); ok {
		c.announced(gateway, m.Data)
		return
	}
	gateway := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var reply decision.SessionReply
	err := decision.DecodeSessionReply(m.Data, &reply)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.silent, gateway)
	i := c.open[reply.ID]
	if i == nil {
		return
	}
	waited, asked := i.asked[gateway]
	if !asked {
		return
	}
	delete(i.asked, gateway)
	if err != nil || reply.Gateway != gateway || !credible(&i.query, &reply) {
		i.bad = append(i.bad, gateway)
		c.counts.incredible++
	} else {
		for n := range reply.Sessions {
			reply.Sessions[n].Gateway = gateway
		}
		i.replies = append(i.replies, reply)
		if c.runs[gateway].twice(time.Now()) {
			i.bad = append(i.bad, gateway) // the other one has not answered
		}
	}
	if waited {
		i.answered()
	}
}

// answered takes one off those that are waited for.
func (i *inquiry) answered() {
	if i.waiting--; i.waiting == 0 {
		close(i.done)
	}
}

func (c *Census) announced(gateway string, b []byte) {
	state, run, ok := readAnnouncement(b)
	if !decision.IsToken(gateway) || !ok {
		return
	}
	if c.note(gateway, state, run) {
		c.sayTwins(gateway)
	}
}

// note takes an announcement, and reports whether the id is used twice.
func (c *Census) note(gateway string, state byte, run uint64) (twice bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	told, known := c.known[gateway]
	delete(c.silent, gateway)
	if state == goes {
		if !told {
			delete(c.known, gateway)
		}
		delete(c.runs, gateway)
		return false
	}
	if !known && len(c.known) >= maxGateways {
		return false
	}
	c.known[gateway] = told
	if c.runs[gateway] == nil {
		c.runs[gateway] = new(runs)
	}
	now := time.Now()
	c.runs[gateway].hear(run, now)
	return c.runs[gateway].twice(now)
}

// credible reports whether a reply holds what was asked for and nothing else.
func credible(q *decision.SessionQuery, r *decision.SessionReply) bool {
	if len(r.Sessions) > q.Limit || r.More && len(r.Sessions) == 0 {
		return false
	}
	last := ""
	for i := range r.Sessions {
		s := &r.Sessions[i]
		if !q.Wants(s) || s.Key() <= last {
			return false
		}
		last = s.Key()
	}
	return true
}

// Ask asks all gateways, or the one named, and puts together what they answer.
// One that is named must be a token; it is asked even if it was never heard of.
func (c *Census) Ask(ctx context.Context, gateway string, q decision.SessionQuery) (Sessions, error) {
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counts.turnedAway++
		return Sessions{}, ErrManyInquiries
	}
	i, gateways := c.begin(gateway, q)
	msg := decision.AppendSessionQuery(nil, &i.query)
	for _, g := range gateways {
		// One that cannot be asked does not answer.
		_ = c.conn.Publish(inquiryPrefix+g+"."+c.node, msg)
	}
	wait, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	select {
	case <-i.done:
	case <-wait.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, i.query.ID)
	c.counts.unanswered += uint64(len(i.asked))
	for g, waited := range i.asked {
		// One that had its time; whoever asked may have gone sooner.
		if _, known := c.known[g]; known && waited && ctx.Err() == nil {
			c.silent[g] = true
		}
	}
	return i.merge(), nil
}

// begin notes that gateways are asked.
func (c *Census) begin(gateway string, q decision.SessionQuery) (*inquiry, []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	c.counts.inquiries++
	q.ID = c.next
	i := &inquiry{query: q, asked: map[string]bool{}, done: make(chan struct{})}
	var gateways []string
	// What one session is asked for, or its end, is worth waiting for.
	list := gateway == "" && q.Session == "" && !q.End
	for g := range c.known {
		if gateway == "" || g == gateway {
			gateways = append(gateways, g)
			i.asked[g] = !list || !c.silent[g]
		}
	}
	if gateway != "" && len(gateways) == 0 {
		// It was not heard of, which does not say that it is not there.
		gateways, i.asked[gateway] = []string{gateway}, true
	}
	for _, waited := range i.asked {
		if waited {
			i.waiting++
		}
	}
	if i.waiting == 0 {
		close(i.done)
	}
	c.open[q.ID] = i
	return i, gateways
}

// merge puts the replies together. What stands behind the last session of one
// that has more is left for the next page, so that no page leaves one out.
func (i *inquiry) merge() Sessions {
	var all Sessions
	end := ""
	for _, r := range i.replies {
		all.Sessions = append(all.Sessions, r.Sessions...)
		if r.More {
			all.More = true
			if last := r.Sessions[len(r.Sessions)-1].Key(); end == "" || last < end {
				end = last
			}
		}
	}
	slices.SortFunc(all.Sessions, func(a, b decision.LiveSession) int { return strings.Compare(a.Key()+a.Gateway, b.Key()+b.Gateway) })
	n := len(all.Sessions)
	if end != "" {
		all.Sessions = slices.DeleteFunc(all.Sessions, func(s decision.LiveSession) bool { return s.Key() > end })
	}
	all.Sessions = all.Sessions[:min(len(all.Sessions), i.query.Limit)]
	all.More = all.More || len(all.Sessions) < n
	for g := range i.asked {
		i.bad = append(i.bad, g)
	}
	slices.Sort(i.bad)
	all.Missing = i.bad
	return all
}
