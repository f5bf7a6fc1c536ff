//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resourcesWithin bounds the wait until all programs have given back what they used. The
// Go runtime collects garbage at least every two minutes.
const resourcesWithin = 3 * time.Minute

// sampleEach is how often the resources of all programs are looked at.
const sampleEach = 10 * time.Second

// heldMetrics are the names of the metrics that measure what a program holds, and the
// largest ratio of the value after the faults to the value before them, over all
// programs. An unbounded growth passes each bound within half an hour of faults.
var heldMetrics = []struct {
	metric string
	most   float64
}{
	// The end of each session, link and subscription ends its goroutines. The NATS
	// servers keep a few for each route, and there may be a route more or less.
	{"go_goroutines", 1.1},
	// Pebble and JetStream open files as the log grows, a few for each node.
	{"process_open_fds", 1.25},
	// The heap holds the log's and the stream's caches, which the log fills, and garbage
	// since the last collection, which is at most as large as the rest.
	{"go_memstats_heap_alloc_bytes", 2.5},
	// The runtime returns memory late, and a View that changes is twice in memory.
	{"process_resident_memory_bytes", 2},
}

// A sample is what all programs hold, by the name of the metric.
type sample map[string]float64

// hold adds up what all programs hold. It returns an error while one does not answer.
func (c *cluster) hold(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.HTTP)
	}
	for _, g := range c.Gateways {
		addrs = append(addrs, g.HTTP)
	}
	total := sample{}
	for _, addr := range addrs {
		text, err := c.Metrics(ctx, addr)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(strings.NewReader(text))
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), " ")
			for _, r := range heldMetrics {
				if name == r.metric {
					n, err := strconv.ParseFloat(value, 64)
					if err != nil {
						return nil, fmt.Errorf("%s: %w", name, err)
					}
					total[name] += n
				}
			}
		}
	}
	return total, nil
}

// watchResources looks at the programs until ctx ends, and returns the largest values.
func (c *cluster) watchResources(ctx context.Context, t *testing.T) sample {
	most := sample{}
	for began := time.Now(); ctx.Err() == nil; wait(ctx, sampleEach) {
		now, err := c.hold(ctx)
		if err != nil {
			continue // a fault has just struck
		}
		for name, n := range now {
			most[name] = max(most[name], n)
		}
		if soak() {
			t.Logf("resources after %v: %v", time.Since(began).Truncate(time.Second), now)
		}
	}
	return most
}

// checkResources waits until all programs hold about as much as before.
func (c *cluster) checkResources(ctx context.Context, t *testing.T, before, most sample) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, resourcesWithin)
	defer cancel()
	for {
		after, err := c.hold(ctx)
		var over []string
		for _, r := range heldMetrics {
			if after[r.metric] > r.most*before[r.metric] {
				over = append(over, fmt.Sprintf("%s is %.2f times the value before, more than %v", r.metric, after[r.metric]/before[r.metric], r.most))
			}
		}
		if done := err == nil && len(over) == 0; done || ctx.Err() != nil {
			for _, r := range heldMetrics {
				t.Logf("%s of all programs: %.0f before, at most %.0f meanwhile, %.0f after", r.metric, before[r.metric], most[r.metric], after[r.metric])
			}
			if !done {
				t.Errorf("resources are not given back: %v %v", over, err)
			}
			return
		}
		wait(ctx, time.Second)
	}
}
