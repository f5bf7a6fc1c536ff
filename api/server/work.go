package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
)

// A Worker does long work on the log, one piece at a time.
type Worker interface {
	// Start begins a piece of work and returns at once. Its errors are
	// *Errors: nothing was begun then.
	Start(api.WorkRequest) (api.Work, error)
	// Work gives the one under way, or the last one.
	Work() api.Work
}

var errNoWorker = &api.Error{Code: api.CodeUnavailable, Text: "this node does no such work"}

func (s *Server) readWork(http.ResponseWriter, *http.Request) (any, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	return s.worker.Work(), nil
}

// postWork begins work. It names folders of this machine, which are nobody's
// business who is not on it.
func (s *Server) postWork(w http.ResponseWriter, r *http.Request) (any, error) {
	var q api.WorkRequest
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	if callerOf(r.Context()).actor != localActor {
		return nil, &api.Error{Code: api.CodeForbidden, Text: "this is done over the node's local socket only"}
	}
	if s.worker == nil {
		return nil, errNoWorker
	}
	switch {
	case q.Kind != api.WorkBackup && q.Kind != api.WorkVerify:
		return nil, &api.Error{Code: api.CodeInvalid, Text: "kind must be backup or verify"}
	case (q.Kind == api.WorkBackup) != (q.Dir != ""):
		return nil, &api.Error{Code: api.CodeInvalid, Text: "a backup names a folder, and nothing else does"}
	}
	return s.worker.Start(q)
}
