package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

// This file has the conditions on the state from which a node of a cluster answers:
// it must not be older than the client requires, and not older than a revocation of
// the client's token can be.

// reachWithin bounds how long a request waits until the node's state includes a
// position. In a cluster in health, a node is behind another one by milliseconds.
const reachWithin = 2 * time.Second

// atLeastParam is the parameter of every read for the position that the answer's
// state must include. A client sends it to read at one node what it has written at
// another.
func atLeastParam() param {
	return param{
		name: "at_least", kind: number, min: 1, max: math.MaxInt64,
		doc: "a position, such as a result's: answer from a state that includes it. The node waits up to 2 seconds for it; after that the error is behind",
	}
}

// errBehind is the answer of a node whose state does not include a position.
func errBehind(position uint64) error {
	return &api.Error{Code: api.CodeBehind, Text: fmt.Sprintf("this node does not have position %d yet; try again, or ask another node", position)}
}

// reach waits until the node's state includes a position.
func (s *Server) reach(ctx context.Context, p events.Position) error {
	within, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if _, err := s.runner.Await(within, p); err != nil {
		return errBehind(uint64(p))
	}
	return nil
}

// atLeast waits for the position of the parameter at_least, if the request has one.
func (s *Server) atLeast(r *http.Request, rt *route, q query) error {
	if !rt.reads() {
		return nil
	}
	if p, given := q.number("at_least"); given {
		return s.reach(r.Context(), events.Position(p))
	}
	return nil
}

// checkFresh refuses a request with a token at a node that has lost its cluster,
// because the node may not know that the token was revoked. Commands are not refused:
// they are checked again at the head of the log. The local socket needs no token.
func (s *Server) checkFresh(r *http.Request) error {
	if s.fresh == nil || !callerOf(r.Context()).network || callOf(r).Command != "" || s.fresh() == nil {
		return nil
	}
	return &api.Error{Code: api.CodeNotFresh, Text: "this node has not heard from its cluster for too long, so it may not know which tokens were revoked; ask another node"}
}
