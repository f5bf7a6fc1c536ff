// Package server is the policy node's end of the admin API, over HTTP. The
// addresses, the types on the wire and the client are in package api.
//
// It promises: requests are read strictly (no unknown, doubled or null field,
// no unknown query parameter, nothing behind the end) and within bounds of
// size, number and time; a read is answered from one View, so it is consistent
// in itself and names the position it was true at; every call is recorded.
//
// It decides nothing: tenants checks commands, a Runner carries them out. It
// never writes a log, and never shows an internal error's text.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/postern-im/postern/api"
)

// Bounds of the server. An admin's requests are few and small; what goes past
// these is a mistake or worse.
const (
	// MaxRequest bounds a request's body. A commit is at most 960 KiB
	// (events.MaxSize); the JSON of one can be some three times its record.
	MaxRequest = 4 << 20
	// maxHeader bounds a request's header.
	maxHeader = 16 << 10
	// headerTime bounds the wait for a header once a connection has begun
	// one, idleTime that between two requests.
	headerTime = 5 * time.Second
	idleTime   = 2 * time.Minute
	// stopTime is what requests under way get when the server stops.
	stopTime = 5 * time.Second
)

// Serve answers requests on l until ctx ends, then lets those under way end
// within stopTime, closes everything and returns. The error is nil when ctx
// was the reason.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       api.RequestTime,
		WriteTimeout:      api.RequestTime + stopTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		ConnContext:       withPeer,
		BaseContext:       func(net.Listener) context.Context { return withStopping(context.WithoutCancel(ctx), ctx) },
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return errors.Join(err, h.Close())
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := h.Shutdown(stop)
	if err != nil {
		// Somebody has not finished in time; that is theirs, not ours.
		err = h.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
