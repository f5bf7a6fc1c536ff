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
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/history"
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// A Runner is the part of the policy node that the API uses.
type Runner interface {
	// Execute checks a command against the newest state and makes its changes
	// durable. The error is a tenants.Errors if the command is refused, and an
	// *api.Error if the command certainly changed nothing for another reason. After
	// any other error, the command may have been carried out.
	Execute(ctx context.Context, c tenants.Command) (tenants.Result, error)
	// View returns the node's state; nil while it has none.
	View() *projections.View
	// Await returns the node's state once it includes a position.
	Await(ctx context.Context, p events.Position) (*projections.View, error)
	// Enforced waits until a position is enforced everywhere. If ctx ends before, the
	// Enforcement is Pending. The error is events.ErrNoSuchPosition if the node's
	// state does not include the position.
	Enforced(ctx context.Context, p events.Position) (tenants.Enforcement, error)
}

// Config holds the parts that a Server uses. Only Runner is required.
type Config struct {
	Runner Runner
	// Log is the log that requests read; if nil, requests for the log or for the
	// past are answered with unavailable.
	Log Log
	// Explain returns the decision on a stanza; if nil, such requests are answered
	// with unavailable.
	Explain Explainer
	// Work does backups and verifications; if nil, these requests are answered with
	// unavailable.
	Work Worker
	// Gateways report live sessions and end them; if nil, such requests are answered
	// with unavailable.
	Gateways Gateways
	// Audit receives a record of every call. If a record cannot be written, the call
	// is refused. If Audit is nil, calls are not recorded.
	Audit Auditor
	// Fresh returns an error if the node's state may be older than revocations that
	// other nodes enforce. Requests with a token, except commands, are then refused.
	// If Fresh is nil, the state is always the newest.
	Fresh func() error
	// Cluster returns what this node knows of its cluster: the name, the generation, the
	// leader, the nodes and the copies of the order. If it is nil, the node is
	// stand-alone.
	Cluster func() api.Cluster
	// RemoveNode takes a node of the cluster, or one log server, out of it for good. The
	// error is an *api.Error. If RemoveNode is nil, the node is stand-alone.
	RemoveNode func(ctx context.Context, node string) (api.ClusterRemoved, error)
	// DiffNode compares the log of this node with the log of another node of the
	// cluster. If it is nil, the node is stand-alone.
	DiffNode func(ctx context.Context, node string) (Difference, error)
	// Node is the id of this node.
	Node string
	// LogID, Version and Started are part of the status of the node.
	LogID   string
	Version string
	Started time.Time
	// Logger receives internal errors; nil discards them.
	Logger *slog.Logger
}

// A Server answers the requests of the API. It is an http.Handler, and Serve runs
// it in an http.Server of its own. Serve sets the caller in the context of each
// connection. The handler refuses requests without a caller.
type Server struct {
	runner   Runner
	log      Log
	explain  Explainer
	worker   Worker
	gateways Gateways
	audit    Auditor
	fresh    func() error       // nil: always fresh
	cluster  func() api.Cluster // nil: stand-alone
	remove   func(context.Context, string) (api.ClusterRemoved, error)
	// difference compares this node's log with another node's; nil: stand-alone.
	difference func(context.Context, string) (Difference, error)
	nodeID     string
	logID      string
	version    string
	started    time.Time
	logger     *slog.Logger
	// unrecorded logs that records cannot be written. Any caller can cause such
	// lines. All calls count as one source.
	unrecorded *floodlog.Logger

	history *history.History // nil without a log

	commands map[string]commandSpec
	mux      *http.ServeMux
	limits   *limits
	failures *failures
}

// New makes a Server. It starts no goroutine.
func New(c Config) (*Server, error) {
	if c.Runner == nil {
		return nil, errors.New("api: no runner")
	}
	s := &Server{
		runner:     c.Runner,
		log:        c.Log,
		explain:    c.Explain,
		worker:     c.Work,
		gateways:   c.Gateways,
		audit:      c.Audit,
		fresh:      c.Fresh,
		cluster:    c.Cluster,
		remove:     c.RemoveNode,
		difference: c.DiffNode,
		nodeID:     c.Node,
		logID:      c.LogID,
		version:    c.Version,
		started:    c.Started.UTC(),
		logger:     cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		commands:   commands(),
		mux:        http.NewServeMux(),
		limits:     newLimits(),
		failures:   newFailures(),
	}
	s.unrecorded = floodlog.New(floodlog.Config{Logger: s.logger, Key: "records", Every: unrecordedEach})
	if c.Log != nil {
		s.history = history.New(c.Log)
	}
	if err := s.mount(s.table()); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return s, nil
}

// A handler answers one request. Its result is written as JSON.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

// ServeHTTP answers one request, within the package's bounds on number, size and
// time.
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
		// The mux would redirect the client.
		s.refuse(w, r, anyone, notFound("there is nothing at this path"))
		return
	}
	leave, ok := s.limits.enter(callerOf(r.Context()))
	if !ok {
		s.finish(w, r, nil, &api.Error{Code: api.CodeBusy, Text: "too many requests at the same time; try again"})
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), api.RequestTime)
	defer cancel()
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// hangUp closes a connection after its answer, without waiting for the rest of the
// request. Clients without a valid token thus hold no connection that a client
// with a token could use.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	// An error is ignored, because other bounds limit the size and time of the
	// body too.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
}

// view returns the newest state, or an error if the node has none yet.
func (s *Server) view() (*projections.View, error) {
	v := s.runner.View()
	if v == nil {
		return nil, &api.Error{Code: api.CodeUnavailable, Text: "the node has not caught up with the log yet; try again"}
	}
	return v, nil
}
