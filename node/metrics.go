package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
)

// metrics are the metrics of a node.
type metrics struct {
	verdicts [decision.End + 1]prometheus.Counter // by effect
	others   prometheus.Counter                   // admissions and openings
	batches  prometheus.Histogram
	commits  prometheus.Counter

	fold            prometheus.Gauge // duration of fold
	snapshot        prometheus.Gauge // position of the newest snapshot
	snapshotTime    prometheus.Gauge
	snapshotsFailed prometheus.Counter
	checked         prometheus.Gauge // progress of checkPast
}

func newMetrics(n *Node, to prometheus.Registerer) (*metrics, error) {
	verdicts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_node_verdicts_total", Help: "Verdicts answered, by effect.",
	}, []string{"effect"})
	m := &metrics{
		others: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_node_admissions_total", Help: "Questions about domains and new sessions.",
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postern_node_batch_seconds",
			Help:    "Time to decide a batch and to record it.",
			Buckets: prometheus.ExponentialBuckets(2e-6, 4, 10), // 2 µs to 0.5 s, when the gateway has given up
		}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_node_commits_total", Help: "Commits that this node has appended.",
		}),
		fold: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_node_fold_seconds", Help: "Time to read a snapshot and apply the commits after it at the start.",
		}),
		snapshot: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_node_snapshot_position", Help: "Position of the newest snapshot; 0 if there is none.",
		}),
		snapshotTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_node_snapshot_seconds", Help: "Time to write the last snapshot.",
		}),
		snapshotsFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_node_snapshots_failed_total", Help: "Snapshots that could not be written.",
		}),
		checked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_node_checked_position", Help: "Position up to which the log before the snapshot used at the start has been checked.",
		}),
	}
	for effect := decision.Pass; effect <= decision.End; effect++ {
		m.verdicts[effect] = verdicts.WithLabelValues(effect.String())
	}
	if to == nil {
		return m, nil
	}
	position := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_position", Help: "Position of the log from which the node decides.",
	}, func() float64 { return float64(n.State().At.Position) })
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_ready", Help: "1 while the node decides.",
	}, func() float64 {
		if n.Ready() == nil {
			return 1
		}
		return 0
	})
	recording := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_recording", Help: "0 while decisions cannot be recorded, so that the node gives no verdict; else 1.",
	}, func() float64 {
		if n.outage.Load() != nil {
			return 0
		}
		return 1
	})
	ahead := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_node_log_ahead_seconds",
		Help: "How far the time of the newest commit is ahead of the clock; new commits get that time until the clock has caught up.",
	}, func() float64 { return ahead(n.View()).Seconds() })
	for _, c := range []prometheus.Collector{verdicts, m.others, m.batches, m.commits, position, ready, recording, ahead,
		m.fold, m.snapshot, m.snapshotTime, m.snapshotsFailed, m.checked} {
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
