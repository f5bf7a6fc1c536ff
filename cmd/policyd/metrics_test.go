package main

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/internal/daemon/daemontest"
)

const metricsDoc = "../../docs/METRICS.md"

// TestMetricsAreDocumented: docs/METRICS.md lists every metric of policyd, and no
// other.
func TestMetricsAreDocumented(t *testing.T) {
	p, err := newProcess(testConfig(t), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.build(); err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if got, want := daemontest.MetricNames(t, p.registry), daemontest.DocumentedMetrics(t, metricsDoc, "policyd"); !slices.Equal(got, want) {
		t.Errorf("policyd has\n%q\nand docs/METRICS.md lists\n%q", got, want)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(clusterCollector{
		now: time.Now, status: func() replica.Status { return replica.Status{} }, members: func() []replica.Member { return nil },
	})
	if got, want := daemontest.MetricNames(t, r), daemontest.DocumentedMetrics(t, metricsDoc, "policyd in a cluster"); !slices.Equal(got, want) {
		t.Errorf("policyd in a cluster has\n%q\nand docs/METRICS.md lists\n%q", got, want)
	}
}
