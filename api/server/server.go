package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	urlpath "path"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/history"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// A Runner is the policy node, as far as its admin needs it.
type Runner interface {
	// Execute checks a command against the newest state and makes what it
	// asks for durable. Its error is a tenants.Errors when the command is
	// refused, an *Error when it is known to have changed nothing for another
	// reason; after any other error it may have been carried out.
	Execute(ctx context.Context, c tenants.Command) (tenants.Result, error)
	// View is the node's state; nil while it has none.
	View() *projections.View
}

// Config says what a Server stands on. Runner is required.
type Config struct {
	Runner Runner
	// Log is shown under /v1/log; nil shows none.
	Log Log
	// Explain says what would become of a stanza; nil answers unavailable.
	// See Explainer.
	Explain Explainer
	// Work does long work on the log; nil does none.
	Work Worker
	// Gateways tell of live sessions and end them; nil answers unavailable.
	Gateways Gateways
	// Audit takes a record of every call, without which nothing is answered or
	// changed; nil keeps none.
	Audit Auditor
	// LogID, Version and Started are what the status says of the node.
	LogID   string
	Version string
	Started time.Time
	// Logger takes what went wrong inside; nil is silence.
	Logger *slog.Logger
}

// A Server is the node's end of the API: an http.Handler, and its own
// http.Server in Serve. Requests must come with a known peer (see Serve).
type Server struct {
	runner   Runner
	log      Log
	explain  Explainer
	worker   Worker
	gateways Gateways
	audit    Auditor
	logID    string
	version  string
	started  time.Time
	logger   *slog.Logger

	history *history.History // nil without a log

	commands map[string]commandSpec
	mux      *http.ServeMux
	limits   limits
	failures *failures
}

// New makes a Server. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Runner == nil {
		return nil, errors.New("api: no runner")
	}
	s := &Server{
		runner:   c.Runner,
		log:      c.Log,
		explain:  c.Explain,
		worker:   c.Work,
		gateways: c.Gateways,
		audit:    c.Audit,
		logID:    c.LogID,
		version:  c.Version,
		started:  c.Started.UTC(),
		logger:   cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		commands: commands(),
		mux:      http.NewServeMux(),
		limits:   newLimits(),
		failures: newFailures(),
	}
	if c.Log != nil {
		s.history = history.New(c.Log)
	}
	if err := s.mount(s.table()); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return s, nil
}

// A handler answers one request; what it returns is written as JSON.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// ServeHTTP answers one request, within the bounds of the package.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who := callerOf(r.Context())
	if who.network && who.actor == "" {
		known, record, denied := s.authenticate(w, r)
		if denied != nil {
			hangUp(w)
		}
		r = withCall(r.WithContext(withCaller(r.Context(), known)))
		switch {
		case denied == nil:
		case record:
			s.finish(w, r, nil, denied)
			return
		default:
			e := s.errorOf(r, denied)
			writeJSON(w, statusOf(e.Code), api.ErrorBody{Error: e})
			return
		}
	}
	r = withCall(r)
	if callerOf(r.Context()).actor == "" {
		s.finish(w, r, nil, &api.Error{Code: api.CodeForbidden, Text: "this connection may not administer the node"})
		return
	}
	if at := r.URL.EscapedPath(); urlpath.Clean(at) != at {
		// The mux would send the client elsewhere.
		s.refuse(w, r, anyone, notFound("there is nothing at this address"))
		return
	}
	leave, ok := s.limits.enter(callerOf(r.Context()))
	if !ok {
		s.finish(w, r, nil, &api.Error{Code: api.CodeBusy, Text: "too many requests at once; try again"})
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), api.RequestTime)
	defer cancel()
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// hangUp has a connection closed behind its answer, without waiting for what is
// still being sent: those who knock leave the port to those who have a token.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	// Nothing to be done where it cannot be set: what is read is bounded all
	// the same.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
}

// view is the state a read is answered from.
func (s *Server) view() (*projections.View, error) {
	v := s.runner.View()
	if v == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "the node has not caught up with the log yet; try again"}
	}
	return v, nil
}
