package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/internal/natsserver"
)

const (
	// heardWithin is the time since a sign of life of a node for which it counts as
	// running. Nodes send one each second.
	heardWithin = 5 * time.Second
	// removedWithin bounds the wait until a removed log server is out. The other log
	// servers may elect a leader meanwhile.
	removedWithin = 20 * time.Second
	// removedLook is the time between two looks.
	removedLook = 250 * time.Millisecond
)

// A removal is everything by which this node judges a request to remove a node of
// the cluster.
type removal struct {
	node      string // this node
	server    string // its log server
	members   []natsserver.LogMember
	connected []string // the log servers that this one is connected to
	heard     []replica.Member
	copies    []replica.SequencerPeer
	now       time.Time
}

// removeNode takes a node, or one log server, out of the cluster for good.
func (p *process) removeNode(ctx context.Context, name string) (api.ClusterRemoved, error) {
	m := p.cluster
	if m.logServer == nil {
		return api.ClusterRemoved{}, conflict("this cluster's log is ordered by NATS servers of your own (nats_urls), which policyd does not manage: " +
			"remove the server there; to take a node out, stop it, remove it from the setting nodes of the other nodes, and restart them one after the other")
	}
	if !m.removing.TryLock() {
		return api.ClusterRemoved{}, conflict("another node is being removed: wait until that is done")
	}
	defer m.removing.Unlock()
	members, err := m.logServer.Members(ctx)
	if err != nil {
		return api.ClusterRemoved{}, noLogLeader(err)
	}
	r := removal{
		node: p.config.ID, server: m.logServer.Name(), members: members, connected: m.logServer.Seen(),
		heard: m.replica.Members(), copies: m.stream.State().Peers, now: time.Now(),
	}
	targets, err := r.targets(name)
	if err != nil {
		return api.ClusterRemoved{}, err
	}
	out := api.ClusterRemoved{Node: name, Removed: []string{}}
	for _, t := range targets {
		if err := m.logServer.Remove(ctx, t.ID); err != nil && !errors.Is(err, natsserver.ErrUnclear) {
			return out, noLogLeader(err)
		}
		if out.Left, err = m.awaitRemoved(ctx, t.ID); err != nil {
			return out, err
		}
		out.Removed = append(out.Removed, t.Name)
		p.logger.Warn("cluster: a log server was removed for good", "log_server", t.Name, "left", out.Left)
	}
	return out, nil
}

// awaitRemoved waits until a log server has no vote, and returns those that have one.
func (m *membership) awaitRemoved(ctx context.Context, id string) (left []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, removedWithin)
	defer cancel()
	look := time.NewTicker(removedLook)
	defer look.Stop()
	for {
		members, err := m.logServer.Members(ctx)
		if err == nil && !slices.ContainsFunc(members, func(m natsserver.LogMember) bool { return m.ID == id }) {
			left = []string{}
			for _, m := range members {
				left = append(left, m.Name)
			}
			return left, nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, &api.Error{Code: api.CodeUnknown, Text: "the log servers have not confirmed the removal: policyctl cluster status shows whether its copy of the order is gone; repeat the command"}
		}
	}
}

// targets returns the log servers of the node that name names, or the one log server
// that it names, if they may be removed. Of a node that has lost its data and runs
// again, it returns the former log servers only.
func (r *removal) targets(name string) ([]natsserver.LogMember, error) {
	var list []natsserver.LogMember
	for _, m := range r.members {
		if m.Node == name || m.Is(name) {
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return nil, &api.Error{Code: api.CodeNotFound, Text: fmt.Sprintf("the cluster has no node %q with a vote; it has: %s", name, r.known())}
	}
	present := slices.ContainsFunc(list, r.runs)
	if former := slices.DeleteFunc(slices.Clone(list), r.runs); present && len(former) > 0 {
		// The node has lost its data and has come back: its present log server stays.
		return former, r.copied(former)
	}
	for _, m := range list {
		if err := r.mayRemove(name, &m); err != nil {
			return nil, err
		}
	}
	return list, r.copied(list)
}

// runs reports whether a log server runs, as far as this node knows.
func (r *removal) runs(m natsserver.LogMember) bool {
	return m.Name == r.server || m.Leader || slices.Contains(r.connected, m.Name) || m.Current && m.Heard < heardWithin
}

// known lists the nodes that have a vote. A log server whose name is not known, because
// no running one has seen it, can be named by its id.
func (r *removal) known() string {
	var names []string
	for _, m := range r.members {
		if m.Named() {
			names = append(names, m.Node)
		} else {
			names = append(names, m.ID+" (a log server that no running node has seen)")
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// mayRemove returns an error if a log server is this node's own, or still runs.
func (r *removal) mayRemove(name string, m *natsserver.LogMember) error {
	if m.Name == r.server || name == r.node {
		return conflict("%s is the node that answers: stop it, and give the command to another node", name)
	}
	if r.runs(*m) {
		return &api.Error{Code: api.CodeInUse, Text: fmt.Sprintf("the log server %s still runs: stop policyd on that node first, and keep it stopped", m.Name)}
	}
	for _, n := range r.heard {
		if n.Data != "" && n.Data != m.Name {
			continue // it runs with another log server, so it has given up m
		}
		if ago := r.now.Sub(n.Heard); n.Node == name && ago < heardWithin {
			return &api.Error{Code: api.CodeInUse, Text: fmt.Sprintf("node %s was heard %v ago: stop policyd there first, and keep it stopped", name, max(ago, 0).Round(time.Second))}
		}
	}
	return nil
}

// copied returns an error if the removal takes away a copy of the order while another
// copy is not complete: the last change of the copies is still under way.
func (r *removal) copied(targets []natsserver.LogMember) error {
	of := func(p replica.SequencerPeer) bool {
		return slices.ContainsFunc(targets, func(m natsserver.LogMember) bool { return m.Name == p.Name })
	}
	if !slices.ContainsFunc(r.copies, of) {
		return nil
	}
	for _, p := range r.copies {
		if !of(p) && (!p.Current || p.Offline) {
			return conflict("another change is under way: the copy of the order on %s is not complete yet, it lacks %d entries; wait until policyctl cluster status shows that it is current", p.Name, p.Lag)
		}
	}
	return nil
}

func conflict(format string, args ...any) error {
	return &api.Error{Code: api.CodeConflict, Text: fmt.Sprintf(format, args...)}
}

// noLogLeader converts an error of the log servers that has changed nothing.
func noLogLeader(err error) error {
	if errors.Is(err, natsserver.ErrNoLeader) {
		return &api.Error{Code: api.CodeUnavailable, Text: "the log servers have no leader at present, so no node can be removed; nothing was done; is a majority of the nodes up?"}
	}
	return conflict("nothing was done: %v", err)
}
