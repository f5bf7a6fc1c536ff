package server

import (
	"net/http"

	"github.com/postern-im/postern/api"
)

// A Worker does long operations on the log, one at a time.
type Worker interface {
	// Start starts an operation and returns at once. The error is an *api.Error and
	// means that nothing was started.
	Start(api.WorkRequest) (api.Work, error)
	// Work returns the operation in progress, or the last one.
	Work() api.Work
}

var errNoWorker = &api.Error{Code: api.CodeUnavailable, Text: "this node cannot back up or verify its log"}

func (s *Server) readWork(http.ResponseWriter, *http.Request) (any, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	return s.worker.Work(), nil
}

// postWork starts a long operation. It is accepted only over the local socket,
// because the request and its answers name folders of this machine.
func (s *Server) postWork(w http.ResponseWriter, r *http.Request) (any, error) {
	var q api.WorkRequest
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	if callerOf(r.Context()).actor != localActor {
		return nil, &api.Error{Code: api.CodeForbidden, Text: "this request is accepted over the node's local socket only"}
	}
	if s.worker == nil {
		return nil, errNoWorker
	}
	switch {
	case q.Kind != api.WorkBackup && q.Kind != api.WorkVerify:
		return nil, &api.Error{Code: api.CodeInvalid, Text: "kind must be backup or verify"}
	case (q.Kind == api.WorkBackup) != (q.Dir != ""):
		return nil, &api.Error{Code: api.CodeInvalid, Text: "a backup needs dir, and a verification must not have it"}
	}
	return s.worker.Start(q)
}
