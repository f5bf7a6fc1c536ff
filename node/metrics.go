package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

// metrics are what a node counts.
type metrics struct {
	verdicts [decision.End + 1]prometheus.Counter // by effect
	others   prometheus.Counter                   // admissions and openings
	batches  prometheus.Histogram
	commits  prometheus.Counter
}

func newMetrics(n *Node, to prometheus.Registerer) (*metrics, error) {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_node_verdicts_total", Help: "Verdicts answered, by effect.",
	}, []string{"effect"})
	m := &metrics{
		others: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_node_admissions_total", Help: "Domains and sessions asked about.",
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postern_node_batch_seconds",
			Help:    "Time to decide a batch and to record it.",
			Buckets: prometheus.ExponentialBuckets(2e-6, 4, 10), // 2 µs to 0.5 s, when its asker has given up
		}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_node_commits_total", Help: "Commits this node has written.",
		}),
	}
	for effect := decision.Pass; effect <= decision.End; effect++ {
		m.verdicts[effect] = verdicts.WithLabelValues(effect.String())
	}
	if to == nil {
		return m, nil
	}
	position := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_position", Help: "Position of the log the node decides by.",
	}, func() float64 { return float64(n.State().At.Position) })
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_ready", Help: "1 while the node decides.",
	}, func() float64 {
		if n.Ready() == nil {
			return 1
		}
		return 0
	})
	for _, c := range []prometheus.Collector{verdicts, m.others, m.batches, m.commits, position, ready} {
		if err := to.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(results []decision.Result, took time.Duration) {
	if len(results) == 0 {
		return
	}
	m.batches.Observe(took.Seconds())
	var counts [decision.End + 1]int
	others := 0
	for i := range results {
		if r := &results[i]; r.Kind == decision.Ask && int(r.Verdict.Effect) < len(counts) {
			counts[r.Verdict.Effect]++
		} else {
			others++
		}
	}
	for effect, n := range counts {
		if n > 0 && m.verdicts[effect] != nil {
			m.verdicts[effect].Add(float64(n))
		}
	}
	if others > 0 {
		m.others.Add(float64(others))
	}
}
