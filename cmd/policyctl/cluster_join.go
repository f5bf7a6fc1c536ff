package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/postern-im/postern/api"
)

const (
	// joinLook is the time between two looks whether the node has joined.
	joinLook = 500 * time.Millisecond
	// joinAnswer bounds the wait for one answer of the node.
	joinAnswer = 5 * time.Second
	// joinFresh is the age up to which a proof shows that the node follows. In health
	// it is at most two seconds.
	joinFresh = 5 * time.Second
)

type clusterJoin struct{}

// Help is the command's help.
func (*clusterJoin) Help() string {
	return `It waits until the node has joined its cluster, has copied the log, and follows. Use it after the start of a node, before you touch the next one. policyd need not run yet. The whole wait lasts at most --timeout; to wait again does no harm.

Exit codes: 0 the node follows; 1 it does not, or it has stopped, or it is stand-alone; 2 the command line could not be read.

Examples:

    policyctl cluster join
    policyctl cluster join --timeout 10m`
}

// A joinedCluster is the result of cluster join.
type joinedCluster struct {
	Cluster  string `json:"cluster"`
	Node     string `json:"node"`
	Position uint64 `json:"position"`
	Hash     string `json:"hash"`
}

// Run waits until the node follows its cluster.
func (c *clusterJoin) Run(ctx context.Context, a *app) error {
	waiting, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	client := a.client.Within(joinAnswer)
	shown := a.progress("", 0, "")
	defer shown.close()
	look := time.NewTicker(joinLook)
	defer look.Stop()
	var wait joinWait
	for {
		s, err := client.Cluster(waiting)
		if waiting.Err() == nil {
			done, err := wait.look(&s, err)
			if err != nil {
				return err
			}
			if done != nil {
				shown.close()
				return a.print(done, func(w io.Writer) {
					fmt.Fprintf(w, "node %s has joined the cluster %s and follows it, at position %d\n", done.Node, done.Cluster, done.Position)
				})
			}
			shown.say(wait.reason)
		}
		select {
		case <-look.C:
		case <-waiting.Done():
			if err := ctx.Err(); err != nil {
				return err
			}
			return fmt.Errorf("the node does not follow its cluster after %v: %s", a.timeout, wait.reason)
		}
	}
}

// A joinWait is the state of a wait for a node.
type joinWait struct {
	reason string // why the wait has not ended
	// proven is the node's position when its proof was first seen to be fresh; nil: it
	// was not.
	proven *uint64
}

// look takes one answer of the node. It returns the end of the wait, or an error if
// the node will not join.
func (j *joinWait) look(s *api.Cluster, err error) (*joinedCluster, error) {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		j.reason = "policyd does not serve yet: it is not started, or it waits for the cluster"
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case err != nil && !mayPass(err):
		return nil, err
	case err != nil:
		j.reason = err.Error()
		return nil, nil
	case !s.Clustered:
		return nil, fmt.Errorf("node %s is stand-alone: its configuration has no section [cluster]", s.Node)
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Node == s.Node {
			return j.node(s, n)
		}
	}
	j.reason = "the node does not know itself yet"
	return nil, nil
}

// node looks at the node's own entry.
func (j *joinWait) node(s *api.Cluster, n *api.ClusterNode) (*joinedCluster, error) {
	if n.Stopped {
		return nil, fmt.Errorf("node %s has stopped for good at position %d: its log and policyctl status say why. After a fork: policyctl cluster diff, then policyctl cluster resolve --help", n.Node, n.Position)
	}
	if n.ProofAgeMicros == nil || time.Duration(*n.ProofAgeMicros)*time.Microsecond > joinFresh {
		j.proven = nil
		j.reason = fmt.Sprintf("node %s is at position %d, and %d commits behind", n.Node, n.Position, n.Lag)
		if n.Lag == 0 {
			j.reason = fmt.Sprintf("node %s is at position %d, and has no proof yet that nothing is missing", n.Node, n.Position)
		}
		return nil, nil
	}
	if j.proven == nil {
		j.proven = &n.Position
	}
	if n.Decides < *j.proven {
		j.reason = fmt.Sprintf("node %s decides from position %d, and its log is at %d", n.Node, n.Decides, n.Position)
		return nil, nil
	}
	return &joinedCluster{s.Name, n.Node, n.Position, n.Hash}, nil
}
