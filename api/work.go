package api

import (
	"net/http"
)

// A Worker does long work on the log, one piece at a time.
type Worker interface {
	// Start begins a piece of work and returns at once. Its errors are
	// *Errors: nothing was begun then.
	Start(WorkRequest) (Work, error)
	// Work gives the one under way, or the last one.
	Work() Work
}

var errNoWorker = &Error{Code: CodeUnavailable, Text: "this node does no such work"}

func (s *Server) readWork(http.ResponseWriter, *http.Request) (any, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	return s.worker.Work(), nil
}

// postWork begins work. It names folders of this machine, which are nobody's
// business who is not on it.
func (s *Server) postWork(w http.ResponseWriter, r *http.Request) (any, error) {
	var q WorkRequest
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	if callerOf(r.Context()).actor != localActor {
		return nil, &Error{Code: CodeForbidden, Text: "this is done over the node's local socket only"}
	}
	if s.worker == nil {
		return nil, errNoWorker
	}
	switch {
	case q.Kind != WorkBackup && q.Kind != WorkVerify:
		return nil, &Error{Code: CodeInvalid, Text: "kind must be backup or verify"}
	case (q.Kind == WorkBackup) != (q.Dir != ""):
		return nil, &Error{Code: CodeInvalid, Text: "a backup names a folder, and nothing else does"}
	}
	return s.worker.Start(q)
}
