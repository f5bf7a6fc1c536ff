package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// healthTimeout bounds one request for metrics or health.
const healthTimeout = 10 * time.Second

// NewRegistry returns a registry for a daemon's metrics, which holds those of the
// Go runtime and of the process already.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Health serves a daemon's metrics and health over HTTP: /metrics, /livez and
// /readyz. It answers everybody, so its listener belongs on loopback.
type Health struct {
	Listener net.Listener
	Metrics  prometheus.Gatherer
	// Ready returns nil if the daemon does its work, or else the reason why it
	// does not.
	Ready func() error
}

// Serve serves until ctx is done. It owns the listener. The daemon is ready only
// while serving is not done: the two differ while the daemon stops, when health
// and metrics are still answered.
func (h *Health) Serve(ctx, serving context.Context) error {
	s := &http.Server{
		Handler:           h.handler(serving),
		ReadHeaderTimeout: healthTimeout, ReadTimeout: healthTimeout, WriteTimeout: healthTimeout,
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(h.Listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (h *Health) handler(serving context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if serving.Err() != nil {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		if err := h.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
