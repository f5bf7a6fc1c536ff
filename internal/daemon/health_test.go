package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestHealth: a daemon is live as long as it runs. It is ready only while Ready
// returns nil and it is not stopping.
func TestHealth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry := NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "test_sessions"}, func() float64 { return 7 }))
	ready := make(chan error, 1)
	h := &Health{Listener: l, Metrics: registry, Ready: func() error { return <-ready }}
	ctx, stop := context.WithCancel(t.Context())
	serving, drain := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, serving) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	get := func(path string) (int, string) {
		t.Helper()
		r, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	want := func(path string, status int, text string) {
		t.Helper()
		if got, body := get(path); got != status || !strings.Contains(body, text) {
			t.Errorf("%s: %d %s, want %d %s", path, got, body, status, text)
		}
	}
	want("/livez", 200, "ok\n")
	ready <- nil
	want("/readyz", 200, "ok\n")
	ready <- errors.New("no policy node answers")
	want("/readyz", 503, "no policy node answers\n")
	drain()
	want("/readyz", 503, "stopping\n")
	want("/livez", 200, "ok\n")
	want("/metrics", 200, "test_sessions 7")
	want("/metrics", 200, "go_goroutines")
	want("/metrics", 200, "process_start_time_seconds")
	want("/", 404, "")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}
