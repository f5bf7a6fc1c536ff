package jetstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/events/replica"
)

const (
	// maxOffers bounds the entries that wait to be published. They wait only while
	// the connection is slow, and are offered again by their owner.
	maxOffers = 64
	// progressEach is the time between two log lines while the stream is awaited.
	progressEach = 5 * time.Second
	// pollEach is the time between two looks at the stream's last number, by which
	// a node notices that published entries were lost.
	pollEach = time.Second
)

// StreamConfig configures a Stream.
type StreamConfig struct {
	// Conn is a connection to a log server. Required.
	Conn *nats.Conn
	// Cluster is the cluster's name. Required.
	Cluster string
	// Create makes the stream if there is none. It is for the node that created the
	// cluster, and only until its log has a cursor: a stream that disappears later
	// must not be replaced silently by an empty one.
	Create bool
	// Seen returns the number of connected log servers and of all. Nil means that
	// they are not known, because an operator runs them, and their names are not
	// those of nodes.
	Seen func() (connected, all int)
	// SyncAlways reports whether this node's log server syncs each write. Nil means
	// that it is not known, because an operator runs the log servers.
	SyncAlways func() bool
	// Trouble returns the reason why Conn could not be made, or nil. Conn itself
	// keeps only the errors that occurred after the servers answered. Trouble may be
	// nil.
	Trouble func() error
	// Logger reports progress. Nil means slog.Default().
	Logger *slog.Logger
}

// A Stream orders entries with the JetStream stream. It implements
// replica.Sequencer. Its methods may be called concurrently.
type Stream struct {
	cfg    StreamConfig
	offers chan []byte
	ready  chan struct{} // closed when the stream exists and is safe

	mu     sync.Mutex // guards the fields below
	state  replica.SequencerState
	polled time.Time // of state; zero: never
	waits  string    // see Waits
}

// NewStream returns a Stream that does nothing until Run.
func NewStream(cfg StreamConfig) *Stream {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Stream{cfg: cfg, offers: make(chan []byte, maxOffers), ready: make(chan struct{})}
}

// Offer asks for an entry to be ordered. An entry is dropped if too many wait
// already. Offer keeps data, which must not change.
func (s *Stream) Offer(data []byte) {
	select {
	case s.offers <- data:
	default:
	}
}

// Ready is closed when the stream exists and is safe.
func (s *Stream) Ready() <-chan struct{} { return s.ready }

// State describes the stream as it was a second ago.
func (s *Stream) State() replica.SequencerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Waits returns the reason why the stream cannot be used yet, in an operator's words.
// It is empty once the stream was there, and before the first look.
func (s *Stream) Waits() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waits
}

func (s *Stream) wait(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = reason
}

// Run waits for the stream, or creates it, publishes what is offered, and keeps the
// state. It ends with ctx. It returns an error if the stream or this node's log
// server is not safe.
func (s *Stream) Run(ctx context.Context) error {
	if s.cfg.SyncAlways != nil && !s.cfg.SyncAlways() {
		return errors.New("this node's log server does not sync each write: setting sync_interval must be always, " +
			"because otherwise it would acknowledge commits that are not on disk")
	}
	if s.cfg.SyncAlways == nil {
		s.cfg.Logger.Warn("cluster: cannot see whether the NATS servers sync each write: " +
			"set sync_interval: always in the section jetstream of each, or acknowledged commits can be lost when machines fail")
	}
	if err := s.prepare(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	close(s.ready)
	var all sync.WaitGroup
	all.Go(func() { s.publish(ctx) })
	s.poll(ctx)
	all.Wait()
	return nil
}

// prepare returns when the stream exists and is safe, when it is not safe, or when
// ctx ends.
func (s *Stream) prepare(ctx context.Context) error {
	started := time.Now()
	told := started
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.look(ctx)
		if unsafe, ok := errors.AsType[*unsafeError](err); ok || err == nil {
			if ok {
				return unsafe
			}
			s.wait("")
			s.cfg.Logger.Info("cluster: the stream is there", "after", time.Since(started).Round(time.Millisecond))
			return nil
		}
		reason := s.reason(err)
		s.wait(reason)
		if time.Since(told) >= progressEach {
			told = time.Now()
			s.cfg.Logger.Info("cluster: waiting for the stream", "reason", reason, "for", time.Since(started).Round(time.Second))
		}
		if !pause(ctx, attempt-time.Since(begun)) {
			break
		}
	}
	return nil
}

// An unsafeError says that the stream must not be used.
type unsafeError struct{ error }

func (e *unsafeError) Unwrap() error { return e.error }

// look looks for the stream once, and creates it if that is this node's part.
func (s *Stream) look(ctx context.Context) error {
	if !s.cfg.Conn.IsConnected() {
		return nats.ErrDisconnected
	}
	i, err := info(ctx, s.cfg.Conn)
	if isCode(err, codeNoStream) && s.cfg.Create {
		if err = create(ctx, s.cfg.Conn, s.cfg.Cluster); err == nil || isCode(err, codeNameTaken) {
			i, err = info(ctx, s.cfg.Conn)
		}
	}
	if err != nil {
		return err
	}
	if err := checkSettings(i.Config, s.cfg.Cluster); err != nil {
		return &unsafeError{err}
	}
	if i.Cluster.Leader == "" {
		return &apiError{Code: codeUnavailable, Description: "the stream has no leader"}
	}
	s.keep(i)
	return nil
}

// reason says in an operator's words why the stream is not there yet.
func (s *Stream) reason(err error) string {
	trouble := s.cfg.Conn.LastError()
	if trouble == nil && s.cfg.Trouble != nil {
		trouble = s.cfg.Trouble()
	}
	servers := ""
	if s.cfg.Seen != nil {
		connected, all := s.cfg.Seen()
		servers = fmt.Sprintf("; %d of %d log servers are connected", connected, all)
	}
	switch {
	case errors.Is(err, nats.ErrDisconnected) && errors.Is(trouble, nats.ErrAuthorization):
		return "the NATS servers do not know the key in nats_seed_file: add its public key to their users"
	case errors.Is(err, nats.ErrDisconnected):
		return fmt.Sprintf("not connected to a log server: %v", cmp.Or(trouble, err))
	case errors.Is(trouble, nats.ErrPermissionViolation):
		return fmt.Sprintf("the NATS servers do not let this node do what it must: %v", trouble)
	case s.cfg.Seen != nil && (errors.Is(err, nats.ErrNoResponders) || isCode(err, codeNotEnabled)):
		return "this node's log server has no vote yet" + servers
	case errors.Is(err, nats.ErrNoResponders), isCode(err, codeNotEnabled):
		return "JetStream is not enabled for this node's account" + servers
	case errors.Is(err, context.DeadlineExceeded), isCode(err, codeUnavailable):
		return "the log servers have no leader: a majority must be connected, and all of them at the first start" + servers
	case isCode(err, codeNoStream):
		return "the stream does not exist yet: the node that created the cluster makes it" + servers
	case isCode(err, codeNoPeers):
		return fmt.Sprintf("too few log servers for %d copies", minReplicas) + servers
	}
	return err.Error() + servers
}

// publish publishes what is offered until ctx ends.
func (s *Stream) publish(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case data := <-s.offers:
			m := &nats.Msg{Subject: subjectOf(data), Data: data}
			if isTick(data) {
				m.Header = nats.Header{headerTTL: {tickTTL.String()}}
			}
			// An error means that the connection is lost. The entry is offered
			// again by its owner.
			_ = s.cfg.Conn.PublishMsg(m)
		}
	}
}

// kindBatch is the first byte of a batch.
const kindBatch = 1

func isBatch(data []byte) bool { return len(data) > 0 && data[0] == kindBatch }

// The kinds of entries that have a subject of their own. All are ordered alike.
var kinds = map[byte]string{kindBatch: "postern.log.batch", 2: "postern.log.tick", 3: "postern.log.generation"}

func subjectOf(data []byte) string {
	if len(data) > 0 && kinds[data[0]] != "" {
		return kinds[data[0]]
	}
	return "postern.log.other"
}

func isTick(data []byte) bool { return len(data) > 0 && data[0] == 2 }

// poll keeps the state until ctx ends. It reports a stream that is gone, or whose
// settings have become unsafe, once for each change: to stop would not bring back
// what is lost, and a replica notices it by the hashes of the commits.
func (s *Stream) poll(ctx context.Context) {
	said := ""
	for pause(ctx, pollEach) {
		i, err := info(ctx, s.cfg.Conn)
		if err == nil {
			s.keep(i)
			err = checkSettings(i.Config, s.cfg.Cluster)
		} else if !isCode(err, codeNoStream) {
			s.cfg.Logger.Debug("cluster: ask for the state of the stream", "error", err)
			continue
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != said && text != "" {
			s.cfg.Logger.Error("cluster: the stream can lose commits or has lost them", "error", text)
		}
		said = text
	}
}

// keep takes the state of the stream.
func (s *Stream) keep(i *streamInfo) {
	state := replica.SequencerState{Leader: i.Cluster.Leader, Last: i.State.Last}
	if s.cfg.Seen != nil {
		// The name of a node's own log server begins with the node's id.
		state.Leader, _, _ = strings.Cut(state.Leader, "-")
	}
	state.Peers = append(state.Peers, replica.SequencerPeer{Name: i.Cluster.Leader, Current: true})
	for _, r := range i.Cluster.Replicas {
		state.Peers = append(state.Peers, replica.SequencerPeer{Name: r.Name, Current: r.Current, Offline: r.Offline, Lag: r.Lag})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.polled = state, time.Now()
}

// followed reports whether the leader said at the last poll that a majority of the
// copies follows it.
func (s *Stream) followed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := 0
	for _, p := range s.state.Peers {
		if p.Current && !p.Offline {
			current++
		}
	}
	return 2*current > len(s.state.Peers)
}

// last returns the stream's last number and when it was polled.
func (s *Stream) last() (uint64, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Last, s.polled
}

// pause waits and reports whether ctx still runs.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
