package node_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// A said is the log output of a node.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), what)
}

// aheadGauge returns the value of postern_node_log_ahead_seconds.
func aheadGauge(t *testing.T, from *prometheus.Registry) time.Duration {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "postern_node_log_ahead_seconds" {
			return time.Duration(f.GetMetric()[0].GetGauge().GetValue() * float64(time.Second))
		}
	}
	t.Fatal("no metric postern_node_log_ahead_seconds")
	return 0
}

// TestClockAhead: a node warns once if the log's time is ahead of the clock, at the
// start or after a commit of another writer. The gauge has the difference until the
// clock has caught up.
func TestClockAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := events.Position(0)
		foreign := func(ahead time.Duration) {
			t.Helper()
			c := &events.Commit{
				Tenant: fmt.Sprint("t", at), TenantVersion: 1, Time: time.Now().Add(ahead).UTC().Truncate(time.Microsecond),
				Actor: "operator:root", CommandID: "create", Events: []events.Event{events.TenantCreated{}},
			}
			if err := l.Append(t.Context(), at, c); err != nil {
				t.Fatal(err)
			}
			at++
		}
		var log said
		metrics := prometheus.NewRegistry()
		check := func(what string, warned, over int, ahead time.Duration) {
			t.Helper()
			synctest.Wait()
			if w, o := log.count("is ahead of this machine's clock"), log.count("clock again"); w != warned || o != over {
				t.Errorf("%s: %d warnings and %d lines that it is over, want %d and %d", what, w, o, warned, over)
			}
			if got := aheadGauge(t, metrics); got.Round(time.Second) != ahead {
				t.Errorf("%s: the gauge is %v, want %v", what, got, ahead)
			}
		}
		foreign(time.Hour)
		r := run(t, node.Config{Log: l, LogID: l.LogID(), Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: metrics})
		defer r.stop()
		rename := func(name string) {
			t.Helper()
			r.do("t0", name, tenants.RenameTenant{DisplayName: name})
			at++
		}
		check("at the start", 1, 0, time.Hour)
		<-time.After(20 * time.Minute)
		rename("one")
		rename("two")
		check("with more commits", 1, 0, 40*time.Minute)
		<-time.After(50 * time.Minute)
		check("before the next commit", 1, 0, 0)
		rename("three")
		check("after it", 1, 1, 0)
		foreign(aheadWithin)
		check("ahead by little", 1, 1, aheadWithin)
		foreign(24 * time.Hour)
		rename("four")
		check("ahead again", 2, 1, 24*time.Hour)
		if c, err := l.Commit(at); err != nil || !c.Time.Equal(r.View().Time()) || time.Until(c.Time).Round(time.Second) != 24*time.Hour {
			t.Errorf("the time of the commit is %v, %v", c.Time, err)
		}
	})
}

// aheadWithin is too short for a warning.
const aheadWithin = 5 * time.Second
