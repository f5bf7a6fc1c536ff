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

// A policy node queries gateways about their sessions, and makes them end a
// session. The SessionDirectory is the node's end, and the SessionReporter is the
// gateway's end. Each gateway receives queries on its own subject and answers on a
// subject that contains its id. No other gateway may publish there.

const (
	// answerWithin is how long a node waits for the answers of gateways.
	answerWithin = 2 * time.Second
	// maxQueries bounds the unanswered queries at a gateway, and the queries that a
	// node asks at the same time. A gateway drops further queries, and a node
	// refuses them with ErrManyQueries.
	maxQueries = 8
	// maxGateways bounds the gateways that a node remembers.
	maxGateways = 1024
)

// ErrManyQueries is returned while too many queries are in progress.
var ErrManyQueries = errors.New("too many queries about sessions: try again")

// A SessionReporter answers the queries of nodes about a gateway's sessions.
type SessionReporter struct {
	// Links are the connections, as in the Asker's Config, and Gateway is this
	// gateway's id.
	Links   []LinkConfig
	Gateway string
	// Sessions answers a query. It is called from several goroutines, and must not
	// wait for a peer.
	Sessions func(*decision.SessionQuery) decision.SessionReply
	// Logger reports another gateway with this id. Nil means slog.Default().
	Logger *slog.Logger

	once answeredOnce

	mu   sync.Mutex // guards the field below
	runs runs       // the gateways that announce themselves under this id
}

// Serve answers queries and announces each second that the gateway runs, over every
// link, until ctx ends. Then it announces that the gateway stops.
func (r *SessionReporter) Serve(ctx context.Context) error {
	if err := checkID("gateway", r.Gateway); err != nil {
		return err
	}
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	run := rand.Uint64()
	var wg sync.WaitGroup
	for i := range r.Links {
		wg.Go(func() {
			if err := r.serve(serving, i, run); err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return context.Cause(serving)
	}
	return nil
}

// serve serves one link. A link that is stuck delays no other.
func (r *SessionReporter) serve(ctx context.Context, link int, run uint64) error {
	conn := r.Links[link].Conn
	asked := make(chan *nats.Msg, maxQueries)
	sub, err := conn.ChanSubscribe(queryPrefix+r.Gateway+".*", asked)
	if err != nil {
		return fmt.Errorf("subscribe to queries about sessions: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already, which does the same
	announced := make(chan *nats.Msg, maxQueries)
	own, err := conn.ChanSubscribe(gatewayPrefix+r.Gateway, announced)
	if err != nil {
		return fmt.Errorf("subscribe to the announcements of this id: %w", err)
	}
	defer own.Unsubscribe() //nolint:errcheck // as above
	often := floodlog.New(floodlog.Config{Logger: r.Logger, Key: "gateway", Every: complainEach})
	tell := time.NewTicker(announceEach)
	defer tell.Stop()
	// Errors of Publish are ignored: without a connection no node can query.
	_ = conn.Publish(gatewayPrefix+r.Gateway, announcement(here, run))
	for {
		select {
		case <-ctx.Done():
			_ = conn.Publish(gatewayPrefix+r.Gateway, announcement(goes, run))
			_ = conn.FlushTimeout(flushWithin)
			return nil
		case <-tell.C:
			_ = conn.Publish(gatewayPrefix+r.Gateway, announcement(here, run))
		case m := <-announced:
			if r.hear(m.Data) {
				often.Say(slog.LevelError, r.Gateway, "another gateway uses the id of this one: policy nodes answer neither", "link", r.Links[link].Name,
					"remedy", "stop one of them, or give it an id and a key of its own: policyctl gateway add ID; the logs of policy nodes have the addresses of both")
			}
		case m := <-asked:
			r.answer(link, m)
		}
	}
}

func (r *SessionReporter) answer(link int, m *nats.Msg) {
	node := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	var q decision.SessionQuery
	if !decision.IsToken(node) || decision.DecodeSessionQuery(m.Data, &q) != nil {
		return // the node reports that this gateway did not answer
	}
	if !r.once.first(link, node, m.Data, time.Now()) {
		return
	}
	reply := r.Sessions(&q)
	reply.ID, reply.Gateway = q.ID, r.Gateway
	_ = r.Links[link].Conn.Publish(reportPrefix+node+"."+r.Gateway, decision.AppendSessionReply(nil, &reply))
}

// An answeredOnce finds queries that several links carry. A second answer to the
// query that ends a session would say that there is no such session.
type answeredOnce struct {
	mu   sync.Mutex // guards the fields below
	last []carried  // the newest queries, at most maxQueries for each link
}

// carried is a query that was received over a link.
type carried struct {
	link        int
	node, query string
	at          time.Time
}

// first reports whether no other link has carried the query within answerWithin.
// The same link carries a query once, so an equal one is a new query.
func (o *answeredOnce) first(link int, node string, query []byte, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.last {
		if c.link != link && c.node == node && c.query == string(query) && now.Sub(c.at) < answerWithin {
			return false
		}
	}
	if len(o.last) == maxLinks*maxQueries {
		o.last = slices.Delete(o.last, 0, 1)
	}
	o.last = append(o.last, carried{link: link, node: node, query: string(query), at: now})
	return true
}

// A SessionDirectory queries all gateways about their sessions, on behalf of one
// node.
type SessionDirectory struct {
	conn *nats.Conn
	node string
	busy chan struct{} // has one element for each Ask in progress
	// often logs that an id is used twice.
	often *floodlog.Logger
	// Addresses returns the addresses from which a gateway is connected to this node,
	// for the log. It is set before Run, and may be nil.
	Addresses func(gateway string) []string

	mu sync.Mutex // guards the fields below
	// known are the gateways that are expected to answer: the registered ones, and
	// those that have announced themselves and not announced that they stop. A
	// gateway that falls silent stays known, because its sessions may still exist.
	known map[string]bool // true: registered, see Expect
	// silent are the known gateways that did not answer a query and have sent
	// nothing since. They are still queried, and reported as missing if they do not
	// answer. But lists do not wait for them; otherwise every page of a list would
	// take answerWithin.
	silent map[string]bool
	// runs are the runs of each gateway id.
	runs map[string]*runs
	// heard is the last announcement of each known gateway.
	heard map[string]heard
	// removed has the gateways that Expect has just removed, and when it did.
	removed map[string]time.Time
	next    uint64
	open    map[uint64]*openQuery
	counts  directoryCounts
}

// An openQuery is a query in progress.
type openQuery struct {
	query decision.SessionQuery
	// asked are the gateways that have not answered yet. The value is true if the
	// query waits for the gateway.
	asked   map[string]bool
	waiting int // how many gateways the query waits for
	replies []decision.SessionReply
	bad     []string
	done    chan struct{} // closed when waiting is zero
}

// Sessions are the merged answers of gateways.
type Sessions struct {
	// Sessions are in the order of their Key.
	Sessions []decision.LiveSession
	// More: more sessions follow the last one.
	More bool
	// Missing are the gateways without a credible answer. If there are any, the
	// list is incomplete.
	Missing []string
}

// NewSessionDirectory returns a SessionDirectory that receives no answers until
// Run. The named gateways are expected to answer, until Expect. The logger reports an
// id that two gateways use.
func NewSessionDirectory(conn *nats.Conn, node string, gateways []string, logger *slog.Logger) (*SessionDirectory, error) {
	d := &SessionDirectory{
		conn: conn, node: node, busy: make(chan struct{}, maxQueries),
		known: map[string]bool{}, silent: map[string]bool{}, open: map[uint64]*openQuery{},
		runs: map[string]*runs{}, heard: map[string]heard{}, removed: map[string]time.Time{}, often: floodlog.New(floodlog.Config{Logger: logger, Key: "gateway", Every: complainEach}),
	}
	for _, g := range gateways {
		if err := checkID("gateway", g); err != nil {
			return nil, err
		}
		d.known[g] = true
	}
	return d, checkID("node", node)
}

// Run receives the messages of gateways until ctx ends.
func (d *SessionDirectory) Run(ctx context.Context) error {
	heard := make(chan *nats.Msg, maxGateways)
	for _, subject := range []string{gatewayPrefix + "*", reportPrefix + d.node + ".*"} {
		sub, err := d.conn.ChanSubscribe(subject, heard)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be closed already, which does the same
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

// hear processes a message of a gateway. The gateway's id is taken from the
// subject, because only this gateway may publish there.
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
			o.bad = append(o.bad, gateway) // the second gateway with this id has not answered
		}
	}
	if waited {
		o.answered()
	}
}

// answered counts the answer of a gateway that the query waits for.
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

// note records an announcement. It reports whether two gateways use the id.
func (d *SessionDirectory) note(gateway string, state byte, run uint64) (twice bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	told, known := d.known[gateway]
	if at, removed := d.removed[gateway]; removed && now.Sub(at) < removedFor {
		return false // it was sent before the removal
	}
	delete(d.silent, gateway)
	if state == goes {
		if !told {
			delete(d.known, gateway)
			delete(d.heard, gateway)
		} else {
			d.heard[gateway] = heard{at: now, gone: true}
		}
		delete(d.runs, gateway)
		return false
	}
	if !known && len(d.known) >= maxGateways {
		return false
	}
	d.known[gateway] = told
	d.heard[gateway] = heard{at: now}
	if d.runs[gateway] == nil {
		d.runs[gateway] = new(runs)
	}
	d.runs[gateway].hear(run, now)
	return d.runs[gateway].twice(now)
}

// credible reports whether a reply holds only sessions that the query selects, in
// the right order.
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

// Ask queries all gateways, or only the named one, and merges their answers. The
// name must be a token. A named gateway is queried even if it is not known.
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
		// An error is ignored: the gateway then counts as not answering.
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
		// If the caller cancelled, the gateway did not have its full time.
		if _, known := d.known[g]; known && waited && ctx.Err() == nil {
			d.silent[g] = true
		}
	}
	return o.merge(), nil
}

// begin records a new query and returns the gateways to send it to.
func (d *SessionDirectory) begin(gateway string, q decision.SessionQuery) (*openQuery, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	d.counts.queries++
	q.ID = d.next
	o := &openQuery{query: q, asked: map[string]bool{}, done: make(chan struct{})}
	var gateways []string
	// A query about one session, or one that ends a session, also waits for silent
	// gateways.
	list := gateway == "" && q.Session == "" && !q.End
	for g := range d.known {
		if gateway == "" || g == gateway {
			gateways = append(gateways, g)
			o.asked[g] = !list || !d.silent[g]
		}
	}
	if gateway != "" && len(gateways) == 0 {
		// An unknown gateway may exist, so it is queried too.
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

// merge merges the replies into one page. If a gateway has more sessions than its
// reply holds, the page ends at the reply's last session. Otherwise the next page,
// which begins after the last session of this page, would miss some of them.
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
