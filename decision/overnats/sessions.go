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

// A policy node asks gateways which sessions they have, and has them end one. The
// SessionDirectory is the node's end, the SessionReporter the gateway's. Each
// gateway is asked on a subject of its own and answers on a subject that names it;
// no other gateway may publish there.

const (
	// answerWithin is how long gateways have to answer.
	answerWithin = 2 * time.Second
	// maxQueries bounds what a gateway is asked and has not answered, and
	// what a node asks at the same time. What is over goes unanswered there,
	// and is an error here.
	maxQueries = 8
	// maxGateways bounds the gateways a node remembers.
	maxGateways = 1024
)

// ErrManyQueries: too many ask about sessions at the same time.
var ErrManyQueries = errors.New("too many ask about sessions: try again")

// A SessionReporter answers what nodes ask about a gateway's sessions.
type SessionReporter struct {
	// Conn is the connection, made by Connect, and Gateway this gateway's id.
	Conn    *nats.Conn
	Gateway string
	// Sessions answers a query; it is called by one goroutine and must not
	// wait for a peer.
	Sessions func(*decision.SessionQuery) decision.SessionReply
}

// Serve answers, and says each second that the gateway is there, until ctx
// ends; then it says that the gateway goes.
func (r *SessionReporter) Serve(ctx context.Context) error {
	if err := checkID("gateway", r.Gateway); err != nil {
		return err
	}
	asked := make(chan *nats.Msg, maxQueries)
	sub, err := r.Conn.ChanSubscribe(queryPrefix+r.Gateway+".*", asked)
	if err != nil {
		return fmt.Errorf("subscribe to questions about sessions: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already, which does the same
	tell := time.NewTicker(announceEach)
	defer tell.Stop()
	run := rand.Uint64()
	// Without a connection nobody hears any of it, and nobody needs to.
	_ = r.Conn.Publish(gatewayPrefix+r.Gateway, announcement(here, run))
	for {
		select {
		case <-ctx.Done():
			_ = r.Conn.Publish(gatewayPrefix+r.Gateway, announcement(goes, run))
			_ = r.Conn.FlushTimeout(flushWithin)
			return nil
		case <-tell.C:
			_ = r.Conn.Publish(gatewayPrefix+r.Gateway, announcement(here, run))
		case m := <-asked:
			r.answer(m)
		}
	}
}

func (r *SessionReporter) answer(m *nats.Msg) {
	node := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var q decision.SessionQuery
	if !decision.IsToken(node) || decision.DecodeSessionQuery(m.Data, &q) != nil {
		return // the node counts this gateway as one that has not answered
	}
	reply := r.Sessions(&q)
	reply.ID, reply.Gateway = q.ID, r.Gateway
	_ = r.Conn.Publish(reportPrefix+node+"."+r.Gateway, decision.AppendSessionReply(nil, &reply))
}

// A SessionDirectory asks all gateways about their sessions, as one node.
type SessionDirectory struct {
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
	// silent are those of known that let a query go unanswered and were
	// not heard since. They are asked and, when they do not answer, missing;
	// but no list waits for them, which would cost each of its pages the time
	// one has to answer.
	silent map[string]bool
	// runs are those heard of each id.
	runs   map[string]*runs
	next   uint64
	open   map[uint64]*openQuery
	counts directoryCounts
}

// An openQuery is one query that gateways have not all answered.
type openQuery struct {
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

// NewSessionDirectory returns a SessionDirectory that hears no answer until Run.
// The gateways named here are expected to answer. The logger is told of an id that
// two gateways use.
func NewSessionDirectory(conn *nats.Conn, node string, gateways []string, logger *slog.Logger) (*SessionDirectory, error) {
	d := &SessionDirectory{
		conn: conn, node: node, busy: make(chan struct{}, maxQueries),
		known: map[string]bool{}, silent: map[string]bool{}, open: map[uint64]*openQuery{},
		runs: map[string]*runs{}, often: floodlog.New(floodlog.Config{Logger: logger, Key: "gateway", Every: complainEach}),
	}
	for _, g := range gateways {
		if err := checkID("gateway", g); err != nil {
			return nil, err
		}
		d.known[g] = true
	}
	return d, checkID("node", node)
}

// Run hears gateways until ctx ends.
func (d *SessionDirectory) Run(ctx context.Context) error {
	heard := make(chan *nats.Msg, maxGateways)
	for _, subject := range []string{gatewayPrefix + "*", reportPrefix + d.node + ".*"} {
		sub, err := d.conn.ChanSubscribe(subject, heard)
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
			d.hear(m)
		}
	}
}

// hear takes what a gateway has sent. Its name is the subject's, to which only
// it may publish.
func (d *SessionDirectory) hear(m *nats.Msg) {
	if gateway, ok := strings.CutPrefix(m.Subject, gatewayPrefix); ok {
		d.announced(gateway, m.Data)
		return
	}
	gateway := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var reply decision.SessionReply
	err := decision.DecodeSessionReply(m.Data, &reply)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.silent, gateway)
	o := d.open[reply.ID]
	if o == nil {
		return
	}
	waited, asked := o.asked[gateway]
	if !asked {
		return
	}
	delete(o.asked, gateway)
	if err != nil || reply.Gateway != gateway || !credible(&o.query, &reply) {
		o.bad = append(o.bad, gateway)
		d.counts.incredible++
	} else {
		for n := range reply.Sessions {
			reply.Sessions[n].Gateway = gateway
		}
		o.replies = append(o.replies, reply)
		if d.runs[gateway].twice(time.Now()) {
			o.bad = append(o.bad, gateway) // the other one has not answered
		}
	}
	if waited {
		o.answered()
	}
}

// answered takes one off those that are waited for.
func (o *openQuery) answered() {
	if o.waiting--; o.waiting == 0 {
		close(o.done)
	}
}

func (d *SessionDirectory) announced(gateway string, b []byte) {
	state, run, ok := readAnnouncement(b)
	if !decision.IsToken(gateway) || !ok {
		return
	}
	if d.note(gateway, state, run) {
		d.sayTwins(gateway)
	}
}

// note takes an announcement, and reports whether the id is used twice.
func (d *SessionDirectory) note(gateway string, state byte, run uint64) (twice bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	told, known := d.known[gateway]
	delete(d.silent, gateway)
	if state == goes {
		if !told {
			delete(d.known, gateway)
		}
		delete(d.runs, gateway)
		return false
	}
	if !known && len(d.known) >= maxGateways {
		return false
	}
	d.known[gateway] = told
	if d.runs[gateway] == nil {
		d.runs[gateway] = new(runs)
	}
	now := time.Now()
	d.runs[gateway].hear(run, now)
	return d.runs[gateway].twice(now)
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
func (d *SessionDirectory) Ask(ctx context.Context, gateway string, q decision.SessionQuery) (Sessions, error) {
	select {
	case d.busy <- struct{}{}:
		defer func() { <-d.busy }()
	default:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.counts.turnedAway++
		return Sessions{}, ErrManyQueries
	}
	o, gateways := d.begin(gateway, q)
	msg := decision.AppendSessionQuery(nil, &o.query)
	for _, g := range gateways {
		// One that cannot be asked does not answer.
		_ = d.conn.Publish(queryPrefix+g+"."+d.node, msg)
	}
	wait, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	select {
	case <-o.done:
	case <-wait.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, o.query.ID)
	d.counts.unanswered += uint64(len(o.asked))
	for g, waited := range o.asked {
		// One that had its time; whoever asked may have gone sooner.
		if _, known := d.known[g]; known && waited && ctx.Err() == nil {
			d.silent[g] = true
		}
	}
	return o.merge(), nil
}

// begin notes that gateways are asked.
func (d *SessionDirectory) begin(gateway string, q decision.SessionQuery) (*openQuery, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	d.counts.queries++
	q.ID = d.next
	o := &openQuery{query: q, asked: map[string]bool{}, done: make(chan struct{})}
	var gateways []string
	// What one session is asked for, or its end, is worth waiting for.
	list := gateway == "" && q.Session == "" && !q.End
	for g := range d.known {
		if gateway == "" || g == gateway {
			gateways = append(gateways, g)
			o.asked[g] = !list || !d.silent[g]
		}
	}
	if gateway != "" && len(gateways) == 0 {
		// It was not heard of, which does not say that it is not there.
		gateways, o.asked[gateway] = []string{gateway}, true
	}
	for _, waited := range o.asked {
		if waited {
			o.waiting++
		}
	}
	if o.waiting == 0 {
		close(o.done)
	}
	d.open[q.ID] = o
	return o, gateways
}

// merge puts the replies together. What stands behind the last session of one
// that has more is left for the next page, so that no page leaves one out.
func (o *openQuery) merge() Sessions {
	var all Sessions
	end := ""
	for _, r := range o.replies {
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
	all.Sessions = all.Sessions[:min(len(all.Sessions), o.query.Limit)]
	all.More = all.More || len(all.Sessions) < n
	for g := range o.asked {
		o.bad = append(o.bad, g)
	}
	slices.Sort(o.bad)
	all.Missing = o.bad
	return all
}
