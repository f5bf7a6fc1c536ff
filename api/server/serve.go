// Package server is the policy node's side of the admin API: an HTTP server. The
// types on the wire and the client are in package api.
//
// It guarantees that requests are parsed strictly: unknown, repeated and null
// fields, unknown query parameters and bytes after the JSON value are refused. The
// size, the number and the time of requests are bounded. Each read request is
// answered from one View. The answer is therefore consistent and names the position
// of this View. Every call is recorded.
//
// It does not decide whether a command is allowed or how it changes the state:
// package tenants checks commands, and a Runner carries them out. It never writes
// to the log, and it never shows the text of an internal error.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/postern-im/postern/api"
)

// The bounds of the server. Requests of administrators are few and small, so
// larger ones are mistakes or attacks.
const (
	// MaxRequest bounds a request's body. A commit has at most 960 KiB
	// (events.MaxSize), and its JSON can be about three times as large.
	MaxRequest = 4 << 20
	// maxHeader bounds a request's header.
	maxHeader = 16 << 10
	// headerTime bounds the time to receive a request's header. idleTime bounds the
	// wait between two requests of a connection.
	headerTime = 5 * time.Second
	idleTime   = 2 * time.Minute
	// stopTime is how long requests in progress may continue when the server stops.
	stopTime = 5 * time.Second
)

// Serve answers requests on l until ctx ends. It then waits up to stopTime for the
// requests in progress, closes all connections and returns. The error is nil if
// Serve returns because ctx ended.
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
	counting, stopCounting := context.WithCancel(context.WithoutCancel(ctx))
	var counter sync.WaitGroup
	counter.Go(func() { s.unrecorded.Run(counting) })
	defer func() { stopCounting(); counter.Wait() }() // after the last request
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
		// A request did not finish in time. This is not an error of the server.
		err = h.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
