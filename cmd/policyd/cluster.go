package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/events/replica/jetstream"
	"github.com/postern-im/postern/internal/daemon"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/node/datafolder"
)

// joinEach is the time between two looks whether this node has joined its cluster.
const joinEach = 50 * time.Millisecond

// A membership holds the parts by which this node belongs to a cluster.
type membership struct {
	id        string                // of this node
	logServer *natsserver.LogServer // nil: an operator's NATS servers order the log
	conn      *nats.Conn            // to a log server
	link      *overnats.Link        // of conn
	stream    *jetstream.Stream
	peers     *jetstream.Peers
	replica   *replica.Replica
	// configured are the ids of all nodes.
	configured []string

	// copies is set if this node had not copied the cluster's log when it started.
	copies bool

	removing sync.Mutex // held for the time of removeNode
}

// A clusterLog is this node's log as a member of a cluster. Commits are read from
// the node's own log, and appended by way of the cluster's order.
type clusterLog struct {
	*eventlog.Log
	replica *replica.Replica
}

// Append appends commits by way of the cluster's order.
func (l clusterLog) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	return l.replica.Append(ctx, at, commits...)
}

// makeMembership creates the parts of the cluster. They do nothing yet.
func (p *process) makeMembership() error {
	m := &membership{id: p.config.ID, link: new(overnats.Link)}
	p.cluster = m
	to := overnats.ConnectConfig{Name: "policyd " + p.config.ID + " log", Logger: p.logger, Link: m.link}
	data, err := p.connectLog(m, &to)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if m.conn, err = overnats.Connect(to); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	generation, creator, bound := p.events.Generation()
	head, _ := p.events.Head()
	m.copies = !bound || head < generation.Position
	_, begun := p.events.Cursor()
	streamConfig := jetstream.StreamConfig{
		Conn: m.conn, Cluster: p.config.Cluster.Name, Create: creator && !begun, Trouble: m.link.Trouble, Logger: p.logger,
	}
	if m.logServer != nil {
		all := len(p.config.Cluster.Peers)
		streamConfig.Seen = func() (connected, of int) { return len(m.logServer.Seen()), all }
		streamConfig.SyncAlways = m.logServer.SyncAlways
	}
	m.stream = jetstream.NewStream(streamConfig)
	m.peers = jetstream.NewPeers(jetstream.PeersConfig{Conn: m.conn, Node: p.config.ID, Source: p.events, Logger: p.logger})
	m.replica, err = replica.New(replica.Config{
		Node: p.config.ID, Cluster: p.config.Cluster.Name, Log: p.events, Sequencer: m.stream, Peers: m.peers,
		Data: data, Release: version(), Logger: p.logger,
	})
	if err != nil {
		return err
	}
	metrics := clusterCollector{id: p.config.ID, status: m.replica.Status, members: m.replica.Members, now: time.Now}
	if m.logServer != nil {
		metrics.lost = func() (n int) {
			for _, names := range lostVotes(m.logServer.Votes(), m.logServer.Seen()) {
				n += len(names)
			}
			return n
		}
	}
	return p.registry.Register(metrics)
}

// connectLog completes the configuration of the connection to the log servers. It
// creates this node's own log server, unless an operator's servers are given. It
// returns a name of this node's data.
func (p *process) connectLog(m *membership, to *overnats.ConnectConfig) (data string, err error) {
	n := &p.config.Cluster
	if len(n.URLs) > 0 {
		to.URLs, to.SeedFile, m.configured = n.URLs, n.SeedFile, n.Nodes
		if to.TLS, err = daemon.Roots(n.URLsCA); err != nil {
			return "", fmt.Errorf("nats_ca: %w", err)
		}
		return "", nil
	}
	config, err := p.config.logServer()
	if err != nil {
		return "", err
	}
	for _, doubt := range p.config.doubts() {
		p.logger.Warn("cluster: the settings of this node do not fit together", "error", doubt)
	}
	config.Logger, config.Room = p.logger, p.config.logServerRoom
	if m.logServer, err = natsserver.NewLogServer(config); err != nil {
		return "", err
	}
	for _, peer := range config.Peers {
		m.configured = append(m.configured, peer.Node)
	}
	to.InProcess, to.Key = m.logServer, m.logServer.Key()
	return m.logServer.Name(), nil
}

// logServer is the configuration of this node's log server.
func (c *config) logServer() (natsserver.LogConfig, error) {
	n := &c.Cluster
	peers, err := n.peers()
	if err != nil {
		return natsserver.LogConfig{}, err
	}
	config := natsserver.LogConfig{
		Node: c.ID, Cluster: n.Name, Listen: n.Listen, CAFile: n.CA, CertFile: n.Cert, KeyFile: n.Key, Dir: c.logServerDir(),
	}
	config.Publish, config.Subscribe = jetstream.Rights()
	for _, p := range peers {
		config.Peers = append(config.Peers, natsserver.LogPeer{Node: p.id, Address: p.address})
	}
	return config, nil
}

// join starts the parts of the cluster and waits until this node's log is bound to
// the cluster. Then it makes the parts that need the id of the log.
func (p *process) join(s *stages) error {
	m := p.cluster
	if m.logServer != nil {
		s.floor.start("log server", m.logServer.Run)
		select {
		case <-m.logServer.Ready():
		case <-s.front.ctx.Done():
			return nil
		}
	}
	s.back.start("cluster", m.stream.Run)
	s.back.start("cluster", m.peers.Run)
	s.back.start("cluster", m.replica.Run)
	if err := p.awaitBound(s.front.ctx); err != nil {
		return err
	}
	if s.front.ctx.Err() != nil {
		return nil
	}
	if err := p.makeNode(); err != nil {
		return err
	}
	return p.listen()
}

// awaitBound waits until the log is bound to the cluster, or ctx is done.
func (p *process) awaitBound(ctx context.Context) error {
	if _, _, bound := p.events.Generation(); bound {
		return nil
	}
	p.logger.Info("cluster: this node waits for the cluster, whose log it will copy", "cluster", p.config.Cluster.Name)
	look := time.NewTicker(joinEach)
	defer look.Stop()
	for {
		if _, _, bound := p.events.Generation(); bound {
			p.logger.Info("cluster: this node has joined", "cluster", p.config.Cluster.Name, "log", p.events.LogID())
			return nil
		}
		if err := p.cluster.replica.Failure(); err != nil {
			return fmt.Errorf("join the cluster: %w", err)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// awaitCopy waits until this node's log has everything that the cluster's log had when this
// node joined, and returns a position that includes it. A node that joined in an earlier
// run does not wait: its log has the gateways, and they can connect even if the node
// cannot reach its cluster. awaitCopy returns an error if the node has stopped for good,
// or if ctx ends.
func (m *membership) awaitCopy(ctx context.Context) (events.Position, error) {
	for m.copies {
		changed := m.replica.Changed() // before the status, so that no change is missed
		switch s := m.replica.Status(); {
		case s.Failure != nil:
			return 0, fmt.Errorf("copy the log of the cluster: %w", s.Failure)
		case !s.LastTick.IsZero(): // a tick of this process was applied, and so was everything before it
			return s.Position, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return 0, nil
}

// complete adds the parts of a member of the cluster to the configuration of a node.
func (m *membership) complete(c *node.Config, log *eventlog.Log) {
	c.Log = clusterLog{log, m.replica}
	c.Prover = m.replica
	c.Cluster = members{m.replica, m.configured}
}

// fresh returns an error if this node may have missed a revocation that other nodes
// enforce: if it has applied no tick for the lease. It goes by this node's own clocks,
// because a caller of the admin API brings no challenge. The monotonic clock stops
// while the machine is suspended and the wall clock can be set, so both must agree.
func (m *membership) fresh() error {
	last := m.replica.Status().LastTick
	if last.IsZero() {
		return errors.New("this node has heard nothing from its cluster since it started")
	}
	now := time.Now()
	if age := max(now.Sub(last), now.Round(0).Sub(last.Round(0))); age > decision.Lease {
		return fmt.Errorf("this node has heard nothing from its cluster for %v", age.Truncate(time.Second))
	}
	return nil
}

// explain adds to the reason why this node is not ready the state of the order, for
// example that a majority of the log servers is missing. A node that has stopped for
// good has its whole reason already. A nil membership adds nothing.
func (m *membership) explain(reason error) error {
	if m == nil || m.stream == nil || m.replica == nil || m.replica.Failure() != nil {
		return reason
	}
	if m.logServer != nil {
		if waits := m.logServer.Waiting(); waits != nil {
			return fmt.Errorf("%w; its log server has no vote yet: %w", reason, waits)
		}
		if lacking := m.logServer.Lacking(); lacking != nil {
			return fmt.Errorf("%w; the disk has too little room for its log server, which has stopped: %w", reason, lacking)
		}
	}
	if waits := m.stream.Waits(); waits != "" {
		return fmt.Errorf("%w; it waits for the cluster's order: %s", reason, waits)
	}
	if m.logServer == nil {
		return reason
	}
	seen, others := len(m.logServer.Seen())-1, len(m.configured)-1
	if seen >= others {
		return reason
	}
	return fmt.Errorf("%w; this node's log server is connected to %d of %d others", reason, seen, others)
}

// close closes the connection to the log servers.
func (m *membership) close() {
	if m != nil && m.conn != nil {
		m.conn.Close()
	}
}

// openBound adds the remedy to an error of opening a log that belongs to a cluster.
func (c *config) openBound(err error) error {
	if bound, ok := errors.AsType[*eventlog.BoundError](err); ok {
		return fmt.Errorf("open the log: it belongs to the cluster %q, but the configuration has no section [cluster]. "+
			"Restore the section; to take the node out of the cluster for good, see: policyctl cluster dissolve --help", bound.Cluster)
	}
	return nil
}

// logServerRoom returns an error while the disk has too little room for the store of
// this node's log server. The reserve is the log's: with less, this node takes no
// commits anyway.
func (c *config) logServerRoom() error {
	free, known, err := eventlog.Free(c.logServerDir())
	switch {
	case err != nil:
		return fmt.Errorf("read the free space of the disk: %w", err)
	case known && free < eventlog.AppendReserve:
		return fmt.Errorf("%d MiB are free, and %d MiB must stay free", free>>20, eventlog.AppendReserve>>20)
	}
	return nil
}

// logServerDir holds the store of this node's log server.
func (c *config) logServerDir() string { return datafolder.Stream(c.Data) }
