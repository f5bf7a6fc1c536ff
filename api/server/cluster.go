package server

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
)

// The bounds beyond which the state of the cluster has a warning.
const (
	// silentAfter is the time without a message of a node. Nodes send one each second.
	silentAfter = 5 * time.Second
	// proofAfter is the age of a node's proof. In health it is at most two seconds.
	proofAfter = 5 * time.Second
	// farBehind is a lag that a node in health never has.
	farBehind = 1000
	// wrongClock is a difference of two clocks. The times of commits show it; no
	// guarantee depends on it.
	wrongClock = 2 * time.Second
	// fewestVoters is the number of voters with which a cluster can lose one.
	fewestVoters = 3
)

// The roles of a node on the wire.
const (
	roleVoter   = "voter"
	roleDecides = "decides"
	roleAlone   = "alone"
)

// The states of a copy on the wire.
const (
	copyCurrent = "current"
	copyBehind  = "behind"
	copyOffline = "offline"
)

// maxNode bounds the name of a node or log server in a path.
const maxNode = 64

// clusterRoutes returns the routes for the state of the cluster and its nodes.
func (s *Server) clusterRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/cluster", name: "cluster", scope: operator,
			summary: "The state of the cluster, as this node knows it",
			doc:     "A node that is not ready answers too. A stand-alone node says that it is alone.",
			reply:   api.Cluster{}, handle: s.getCluster,
		},
		{
			method: http.MethodPost, path: "/v1/cluster/nodes/{node}/remove", name: "removeClusterNode", scope: operator,
			summary: "Take a node out of the cluster for good",
			doc: "The node must be stopped. Its log servers lose their vote and their copy of the order. The request is refused if the " +
				"other servers cannot do without them. In place of a node's id, the path can have the name of one log server. If the " +
				"error is unknown, the request may be repeated.",
			request: api.ClusterRemove{}, reply: api.ClusterRemoved{},
			errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeConflict, api.CodeInUse, api.CodeUnknown},
			handle: s.removeNode, intends: true,
		},
		{
			method: http.MethodGet, path: "/v1/cluster/nodes/{node}/diff", name: "diffClusterNode", scope: operator,
			summary: "The commits that only one of two nodes has",
			doc: "The node compares its own log with the log of the node that the path names. policyd must run there. The answer has at " +
				"most 1000 commits of each node, and the number of the others.",
			reply: api.ClusterDiff{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeConflict}, handle: s.diffNode,
		},
	}
}

// isNodeName reports whether a text could be the name of a node or log server.
func isNodeName(s string) bool {
	return s != "" && len(s) <= maxNode && !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' })
}

var (
	errNodeName  = &api.Error{Code: api.CodeInvalid, Text: "that is not the name of a node"}
	errNoCluster = &api.Error{Code: api.CodeConflict, Text: "this node is stand-alone: it has no cluster with other nodes"}
)

// removeNode takes a node out of the cluster. Its intent is on disk before.
func (s *Server) removeNode(w http.ResponseWriter, r *http.Request) (any, error) {
	var body api.ClusterRemove
	if err := decodeBody(w, r, &body); err != nil {
		return nil, err
	}
	if err := checkReason(body.Reason); err != nil {
		return nil, err
	}
	node := r.PathValue("node")
	switch {
	case !isNodeName(node):
		return nil, errNodeName
	case s.remove == nil:
		return nil, errNoCluster
	}
	callOf(r).Reason = body.Reason
	if err := s.intend(r, ""); err != nil {
		return nil, err
	}
	return s.remove(r.Context(), node)
}

// getCluster answers also if the node has no View yet, because an operator needs the
// state of the cluster most when it does not work.
func (s *Server) getCluster(http.ResponseWriter, *http.Request) (any, error) {
	reply := s.alone()
	if s.cluster != nil {
		reply = s.cluster()
		reply.Clustered = true
	}
	reply.Node, reply.LogID, reply.Time = s.nodeID, s.logID, time.Now().UTC()
	slices.SortFunc(reply.Nodes, func(a, b api.ClusterNode) int { return cmp.Compare(a.Node, b.Node) })
	reply.Nodes = append([]api.ClusterNode{}, reply.Nodes...)
	reply.Copies = append([]api.ClusterCopy{}, reply.Copies...)
	reply.Gateways = s.clusterGateways()
	newest := uint64(0)
	for _, n := range reply.Nodes {
		newest = max(newest, n.Position)
	}
	for i := range reply.Nodes {
		reply.Nodes[i].Lag = newest - reply.Nodes[i].Position
	}
	reply.Warnings = append(clusterWarnings(&reply), reply.Warnings...)
	return reply, nil
}

// alone returns the state of a stand-alone node.
func (s *Server) alone() api.Cluster {
	n := api.ClusterNode{Node: s.nodeID, Role: roleAlone, Version: s.version, Heard: time.Now().UTC()}
	if s.log != nil {
		head, hash := s.log.Head()
		n.Position, n.Hash = uint64(head), hex.EncodeToString(hash[:])
	}
	if v := s.runner.View(); v != nil {
		n.Decides = uint64(v.Position())
	}
	return api.Cluster{Nodes: []api.ClusterNode{n}}
}

func (s *Server) clusterGateways() []api.ClusterGateway {
	list := []api.ClusterGateway{}
	if s.gateways == nil {
		return list
	}
	for _, p := range s.gateways.Presence() {
		list = append(list, api.ClusterGateway{Gateway: p.Gateway, Connected: p.Here, Heard: p.Heard.UTC(), Twice: p.Twice})
	}
	slices.SortFunc(list, func(a, b api.ClusterGateway) int { return cmp.Compare(a.Gateway, b.Gateway) })
	return list
}

// clusterWarnings returns the findings in the state of a cluster that an operator
// should look at.
func clusterWarnings(c *api.Cluster) []string {
	w := warnings{}
	if c.Clustered {
		w.order(c)
		for i := range c.Nodes {
			w.node(c, &c.Nodes[i])
		}
		w.forks(c.Nodes)
		w.levels(c.Nodes)
	}
	for _, g := range c.Gateways {
		if g.Twice {
			w.add("two gateways use the id %s: nodes answer neither; give one of them another id and key", g.Gateway)
		}
	}
	return w
}

// warnings are texts for an operator.
type warnings []string

func (w *warnings) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

// order adds the warnings about the common order and its voters.
func (w *warnings) order(c *api.Cluster) {
	if c.Leader == "" {
		w.add("no leader of the order is known: changes wait until there is one")
	}
	voters, heard := 0, 0
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Role == roleVoter {
			voters++
			if !silent(c, n) && !n.Stopped {
				heard++
			}
		}
	}
	switch {
	case 2*heard <= voters:
		w.add("only %d of %d voters work and are heard by this node: without a majority there are no changes, and gateways stop passing stanzas after 20 seconds", heard, voters)
	case voters < fewestVoters:
		w.add("the cluster has %d voters, and can lose none of them: add voters up to %d", voters, fewestVoters)
	}
	for _, copy := range c.Copies {
		if copy.State != copyCurrent {
			w.add("the copy of the order on %s is %s, and lacks %d entries", copy.Server, copy.State, copy.Lag)
		}
	}
}

// silent reports whether a node has not been heard from for long.
func silent(c *api.Cluster, n *api.ClusterNode) bool {
	return n.Heard.IsZero() || c.Time.Sub(n.Heard) > silentAfter
}

// node adds the warnings about one node. Of a silent node, nothing else is known.
func (w *warnings) node(c *api.Cluster, n *api.ClusterNode) {
	switch {
	case n.Heard.IsZero():
		w.add("node %s has not been heard from since node %s was started", n.Node, c.Node)
		return
	case silent(c, n):
		w.add("node %s has not been heard from for %v", n.Node, c.Time.Sub(n.Heard).Round(time.Second))
		return
	case n.Stopped:
		w.add("node %s has stopped for good: its log says why", n.Node)
		return
	}
	if n.Lag >= farBehind {
		w.add("node %s is %d commits behind", n.Node, n.Lag)
	}
	switch age := n.ProofAgeMicros; {
	case age == nil:
		w.add("node %s has no proof that its state is fresh: gateways do not use its answers", n.Node)
	case micros(*age) > proofAfter:
		w.add("node %s proved %v ago that its state is fresh: after 20 seconds, gateways do not use its answers", n.Node, micros(*age).Round(time.Second))
	}
	if n.SkewMicros != nil {
		if skew := micros(*n.SkewMicros); skew > wrongClock {
			w.add("the clock of node %s is %v ahead of the clock of node %s", n.Node, skew.Round(time.Second), c.Node)
		} else if -skew > wrongClock {
			w.add("the clock of node %s is %v behind the clock of node %s", n.Node, (-skew).Round(time.Second), c.Node)
		}
	}
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// forks adds a warning for two nodes with different histories.
func (w *warnings) forks(nodes []api.ClusterNode) {
	for i := range nodes {
		for j := range i {
			a, b := &nodes[j], &nodes[i]
			if a.Position == b.Position && a.Hash != b.Hash && a.Hash != "" && b.Hash != "" {
				w.add("nodes %s and %s have different histories at position %d: compare them before any of them is used", a.Node, b.Node, a.Position)
			}
		}
	}
}

// levels adds a warning if some nodes read fewer events than others.
func (w *warnings) levels(nodes []api.ClusterNode) {
	newest := uint64(0)
	for _, n := range nodes {
		newest = max(newest, n.Level)
	}
	var old []string
	for _, n := range nodes {
		if n.Level != 0 && n.Level < newest {
			old = append(old, n.Node)
		}
	}
	if len(old) > 0 {
		w.add("not upgraded yet: %s; changes that these versions cannot read are refused", strings.Join(old, ", "))
	}
}
