package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

// A Difference is the result of comparing the logs of two nodes.
type Difference struct {
	// Common is the last position up to which both logs are the same.
	Common events.Position
	// Own is the log of this node, Other the log of the other node.
	Own, Other Side
}

// A Side is the log of one of two nodes.
type Side struct {
	Node     string
	Position events.Position // the head
	// Only are the first commits after Common.
	Only []*events.Commit
}

// diffNode compares the log of this node with the log of another one.
func (s *Server) diffNode(_ http.ResponseWriter, r *http.Request) (any, error) {
	node := r.PathValue("node")
	switch {
	case !isNodeName(node):
		return nil, errNodeName
	case s.difference == nil:
		return nil, errNoCluster
	}
	d, err := s.difference(r.Context(), node)
	if err != nil {
		return nil, err
	}
	reply := api.ClusterDiff{
		Equal:  d.Own.Position == d.Common && d.Other.Position == d.Common,
		Common: uint64(d.Common),
	}
	for _, side := range []*Side{&d.Own, &d.Other} {
		out := api.ClusterSide{Node: side.Node, Position: uint64(side.Position), Only: []api.LogEntry{}}
		for _, c := range side.Only {
			out.Only = append(out.Only, entryFrom(c))
		}
		out.More = uint64(side.Position-d.Common) - uint64(len(side.Only))
		reply.Sides = append(reply.Sides, out)
	}
	return reply, nil
}
