package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/events"
)

// The subjects of messages between nodes.
const (
	subjectAt   = "postern.peer.at."   // + node: its state
	subjectHave = "postern.peer.have"  // asks which node has a position
	subjectCopy = "postern.peer.copy." // + node: asks it for records
)

const (
	// peerWithin bounds the wait for each message of another node. A node that
	// takes longer is given up, and another is asked.
	peerWithin = 2 * time.Second
	// findWithin bounds the wait for a node that has a position. It is short, because
	// a node that has just connected may not hear the first question.
	findWithin = 500 * time.Millisecond
	// findPause is the time between two searches for a node that has a position.
	findPause = 200 * time.Millisecond
	// partBytes bounds one message with records. It is a little less than the limit
	// of a NATS server, and holds the largest record.
	partBytes = 1<<20 - 1<<10
	// burstParts is the number of messages that answer one request for records. It
	// bounds the memory that a request costs on both sides, and is large enough for
	// the time between two requests not to matter.
	burstParts = 8
	// waitingStates bounds the states that were received and not handed over yet.
	// Each node tells a newer one within a second.
	waitingStates = 1024
	// waitingRequests bounds the requests of other nodes that wait for an answer.
	waitingRequests = 64
)

// A Source is this node's log, from which other nodes copy.
type Source interface {
	Head() (events.Position, [32]byte)
	Records(from events.Position, max int) ([][]byte, error)
}

// PeersConfig configures Peers.
type PeersConfig struct {
	// Conn is a connection to a log server. Required.
	Conn *nats.Conn
	// Node is this node's id. Required.
	Node string
	// Source is this node's log. Required.
	Source Source
	// Logger reports requests that could not be answered. Nil means slog.Default().
	Logger *slog.Logger
}

// Peers carries messages between the nodes. It implements replica.Peers. Its
// methods may be called concurrently.
type Peers struct {
	cfg   PeersConfig
	state chan []byte // the newest state that was not published yet
}

// NewPeers returns Peers that neither send nor answer until Run.
func NewPeers(cfg PeersConfig) *Peers {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Peers{cfg: cfg, state: make(chan []byte, 1)}
}

// Run publishes this node's states and answers the requests of other nodes until
// ctx ends, or until the connection is closed.
func (p *Peers) Run(ctx context.Context) error {
	sub, err := p.cfg.Conn.SubscribeSync(subjectHave)
	if err != nil {
		return fmt.Errorf("answer other nodes: %w", err)
	}
	defer sub.Unsubscribe()
	copies, err := p.cfg.Conn.SubscribeSync(subjectCopy + p.cfg.Node)
	if err != nil {
		return fmt.Errorf("answer other nodes: %w", err)
	}
	defer copies.Unsubscribe()
	if err := errors.Join(sub.SetPendingLimits(waitingRequests, -1), copies.SetPendingLimits(waitingRequests, -1)); err != nil {
		return fmt.Errorf("answer other nodes: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	all.Go(func() { p.publish(ctx) })
	for _, answering := range []struct {
		sub    *nats.Subscription
		answer func(*nats.Msg)
	}{{sub, p.answerHave}, {copies, p.answerCopy}} {
		all.Go(func() {
			if err := each(ctx, answering.sub, answering.answer); err != nil {
				cancel(fmt.Errorf("answer other nodes: %w", err))
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// each calls fn with the messages of a subscription until ctx ends.
func each(ctx context.Context, sub *nats.Subscription, fn func(*nats.Msg)) error {
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case err == nil:
			fn(m)
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, nats.ErrSlowConsumer):
			return err
		}
	}
}

// Tell sends this node's state to all other nodes. It keeps state, which must not
// change. A state that was not sent yet is replaced.
func (p *Peers) Tell(state []byte) {
	for {
		select {
		case p.state <- state:
			return
		default:
		}
		select {
		case <-p.state:
		default:
		}
	}
}

func (p *Peers) publish(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case state := <-p.state:
			// An error means that the connection is lost. A newer state follows
			// within a second.
			_ = p.cfg.Conn.Publish(subjectAt+p.cfg.Node, state)
		}
	}
}

// Listen calls fn with the states that other nodes tell, until ctx ends.
func (p *Peers) Listen(ctx context.Context, fn func(state []byte)) error {
	sub, err := p.cfg.Conn.SubscribeSync(subjectAt + "*")
	if err != nil {
		return fmt.Errorf("listen to other nodes: %w", err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(waitingStates, -1); err != nil {
		return fmt.Errorf("listen to other nodes: %w", err)
	}
	if err := each(ctx, sub, func(m *nats.Msg) { fn(m.Data) }); err != nil {
		return fmt.Errorf("listen to other nodes: %w", err)
	}
	return nil
}

// Copy calls fn with the records from one position to another. It asks the nodes
// that have all of them, one at a time, and goes on with another where one fails.
func (p *Peers) Copy(ctx context.Context, from, to events.Position, fn func(records [][]byte) error) error {
	if from > to {
		return nil
	}
	c := &copying{peers: p, next: from, to: to, fn: fn}
	for c.next <= to {
		node, err := p.find(ctx, to)
		if err != nil {
			return fmt.Errorf("copy the commits from %d to %d: %w", c.next, to, err)
		}
		before := c.next
		err = c.from(ctx, node)
		if refused, ok := errors.AsType[*refusedError](err); ok {
			return refused.error
		}
		if err != nil {
			p.cfg.Logger.Warn("cluster: copy commits from another node", "node", node, "position", uint64(c.next), "error", err)
			if c.next == before && !pause(ctx, findPause) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// From calls fn with the records of one node from one position to another. It asks no
// other node. It returns an error of fn as it is.
func (p *Peers) From(ctx context.Context, node string, from, to events.Position, fn func(records [][]byte) error) error {
	if from > to {
		return nil
	}
	c := &copying{peers: p, next: from, to: to, fn: fn}
	err := c.from(ctx, node)
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.error
	}
	if err != nil {
		return fmt.Errorf("read the commits from %d to %d of node %s: %w", from, to, node, err)
	}
	return nil
}

// find returns a node that has a position: the one that answers first.
func (p *Peers) find(ctx context.Context, position events.Position) (node string, err error) {
	for {
		within, cancel := context.WithTimeout(ctx, findWithin)
		m, err := p.cfg.Conn.RequestWithContext(within, subjectHave, appendHave(nil, position, p.cfg.Node))
		cancel()
		if err == nil {
			if node, err = readName(m.Data); err == nil {
				return node, nil
			}
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) {
			err = fmt.Errorf("no other node has the commit %d: %w", position, err)
		}
		p.cfg.Logger.Debug("cluster: look for a node to copy from", "error", err)
		if !pause(ctx, findPause) {
			return "", err
		}
	}
}

// A refusedError is an error of the function that was to take the records.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// A copying is the state of one Copy.
type copying struct {
	peers    *Peers
	next, to events.Position
	fn       func([][]byte) error
}

// from copies from one node until all is copied or the node fails. It asks for the
// next records before it hands over the last ones of an answer, so that the other
// node reads while this one writes.
func (c *copying) from(ctx context.Context, node string) error {
	conn := c.peers.cfg.Conn
	sub, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	ask := func() error {
		return conn.PublishRequest(subjectCopy+node, sub.Subject, appendRange(nil, c.next, c.to))
	}
	if err := ask(); err != nil {
		return err
	}
	for {
		m, err := next(ctx, sub, peerWithin)
		if err != nil {
			return err
		}
		if m.Header.Get(headerStatus) != "" {
			return nats.ErrNoResponders
		}
		part, err := readPart(m.Data)
		if err != nil {
			return err
		}
		if part.first != c.next || events.Position(len(part.records)) > c.to-c.next+1 {
			return fmt.Errorf("it sent %d commits from %d when asked for those from %d to %d", len(part.records), part.first, c.next, c.to)
		}
		c.next += events.Position(len(part.records))
		done := c.next > c.to
		if part.last && !done {
			if err := ask(); err != nil {
				return err
			}
		}
		if err := c.fn(part.records); err != nil {
			return &refusedError{err}
		}
		if done {
			return nil
		}
	}
}

// answerHave answers another node if this node has the position that it needs.
func (p *Peers) answerHave(m *nats.Msg) {
	position, asker, err := readHave(m.Data)
	if err != nil || asker == p.cfg.Node {
		return
	}
	if head, _ := p.cfg.Source.Head(); head >= position {
		_ = m.Respond(appendName(nil, p.cfg.Node)) // the asker tries again
	}
}

// answerCopy sends a burst of records to another node.
func (p *Peers) answerCopy(m *nats.Msg) {
	from, to, err := readRange(m.Data)
	if err == nil {
		err = p.send(m, from, to)
	}
	if err != nil {
		p.cfg.Logger.Warn("cluster: send commits to another node", "error", err)
		_ = m.Respond(appendRefusal(nil, err.Error())) // the asker gives up by itself
	}
}

func (p *Peers) send(m *nats.Msg, from, to events.Position) error {
	for i := range burstParts {
		records, err := p.cfg.Source.Records(from, events.MaxSize)
		if err != nil {
			return err
		}
		records = fitting(records, to-from+1)
		if len(records) == 0 {
			return fmt.Errorf("this node does not have the commit %d", from)
		}
		next := from + events.Position(len(records))
		last := i == burstParts-1 || next > to
		if err := m.Respond(appendPart(nil, part{first: from, last: last, records: records})); err != nil {
			return err
		}
		if last {
			return nil
		}
		from = next
	}
	return nil
}

// fitting returns the first records, at most n of them, that fit into one message.
func fitting(records [][]byte, n events.Position) [][]byte {
	size := 0
	for i, r := range records {
		size += len(r) + maxLength
		if events.Position(i) == n || i > 0 && size > partBytes-partOverhead {
			return records[:i]
		}
	}
	return records
}
