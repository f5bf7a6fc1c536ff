package main

import (
	"slices"
	"testing"

	"github.com/postern-im/postern/internal/daemon/daemontest"
)

// TestMetricsAreDocumented: docs/METRICS.md lists every metric of the gateway, and
// no other.
func TestMetricsAreDocumented(t *testing.T) {
	c := defaults()
	c.Certificates.Directory, c.Certificates.SelfSigned = "", true
	c.Listen.STARTTLS, c.Listen.DirectTLS = []string{"127.0.0.1:0"}, nil
	c.Listen.HTTP = ""
	p, err := build(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.disconnect()
	if got, want := daemontest.MetricNames(t, p.registry), daemontest.DocumentedMetrics(t, "../../docs/METRICS.md", "gateway"); !slices.Equal(got, want) {
		t.Errorf("the gateway has\n%q\nand docs/METRICS.md lists\n%q", got, want)
	}
}
