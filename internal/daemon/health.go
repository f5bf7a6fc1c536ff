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

// NewRegistry returns a registry for a daemon's metrics. It already holds the
// metrics of the Go runtime and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Health serves a daemon's metrics and health over HTTP: /metrics, /livez and
// /readyz. It answers without authentication, so its listener must be on loopback.
type Health struct {
	Listener net.Listener
	Metrics  prometheus.Gatherer
	// Ready returns nil if the daemon is able to work, else the reason why it is
	// not.
	Ready func() error
}

// Serve serves until ctx is done. It takes ownership of the listener. After
// the context serving is done, /readyz answers that the daemon is stopping.
// ctx ends later than serving, so that health and metrics are still available
// while the daemon stops.
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
