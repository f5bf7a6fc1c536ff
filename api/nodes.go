package api

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// nodes are the nodes that a client can ask, and the newest position that it has
// written there. Copies of a Client share them.
type nodes struct {
	bases []string // the address of each node

	mu      sync.Mutex // guards the fields below
	first   string     // the node that answered last; empty: none has
	written uint64
}

// inTurn yields the addresses, first the node that answered last.
func (n *nodes) inTurn() iter.Seq[string] {
	n.mu.Lock()
	i := max(slices.Index(n.bases, n.first), 0)
	n.mu.Unlock()
	return slices.Values(slices.Concat(n.bases[i:], n.bases[:i]))
}

// answered makes a node the first to ask.
func (n *nodes) answered(base string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.first = base
}

// wrote records the position of a command that a node has carried out.
func (n *nodes) wrote(p uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.written = max(n.written, p)
}

// required returns the position that the state of a read must include, so that the
// client reads its own commands at every node. It is zero if there is one node only,
// which always includes them.
func (n *nodes) required() uint64 {
	if len(n.bases) == 1 {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.written
}

// isAnswer reports whether an error is a node's own answer.
func isAnswer(err error) bool {
	e, answered := errors.AsType[*Error](err)
	return answered && e.Code != CodeBadResponse
}

// tryNext reports whether another node may be asked after an error: if the node has
// certainly done nothing, or if the request may be sent twice.
func tryNext(err error, sent, repeatable bool) bool {
	if e, answered := errors.AsType[*Error](err); answered {
		return slices.Contains([]Code{CodeUnavailable, CodeBehind, CodeNotFresh}, e.Code)
	}
	return !sent || repeatable
}

// worse returns the error that the caller must learn of, after two nodes have failed.
// It keeps the older error if only this one leaves open whether a change was made. A
// later refusal does not settle that, because the later node can be behind.
func worse(older, newer error, newerSent, reads bool) error {
	lost, isLost := errors.AsType[*lostError](older)
	switch {
	case older == nil && newerSent && !isAnswer(newer):
		return &lostError{newer}
	case older == nil, reads && isAnswer(newer):
		return newer
	case isLost && isAnswer(newer):
		return &lostError{fmt.Errorf("%w; another node: %s", lost.err, newer)}
	case isLost, isAnswer(older) && !newerSent:
		return older
	case newerSent && !isAnswer(newer):
		return &lostError{newer}
	}
	return newer
}

// A lostError means that a node may have received the request, and that its answer
// was lost.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }
