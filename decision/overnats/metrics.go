package overnats

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register registers the Asker's metrics. The core keeps the counters, which are
// read only when the metrics are collected, so they cost the callers nothing.
func (a *Asker) register() error {
	if a.cfg.Metrics == nil {
		return nil
	}
	count := func(name, help string, of func(*counts) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "postern_asker_" + name + "_total", Help: help}, func() float64 {
			a.mu.Lock()
			defer a.mu.Unlock()
			return float64(of(&a.core.counts))
		})
	}
	a.latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "postern_asker_answer_seconds",
		Help:    "Time from sending a message to its answer.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2, 14), // 50 µs to 0.4 s, where a try ends
	})
	a.proofAge = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "postern_asker_proof_age_seconds",
		Help:    "Age of the proof that an answer came with; an answer older than the lease of 20 s is not used.",
		Buckets: []float64{.001, .01, .1, .5, 1, 2, 3, 5, 10, 15, 20},
	})
	a.outage = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "postern_asker_outage",
		Help: "1 while no policy node answers, labelled with the likely cause as the log names it; no series while a node answers.",
	}, []string{"cause"})
	collectors := []prometheus.Collector{
		a.outage,
		count("requests", "Questions, admissions and openings asked.", func(c *counts) uint64 { return c.requests }),
		count("messages", "Messages sent to policy nodes.", func(c *counts) uint64 { return c.messages }),
		count("hedges", "Messages sent to a second node because the first was slow.", func(c *counts) uint64 { return c.hedges }),
		count("misses", "Messages that went unanswered.", func(c *counts) uint64 { return c.misses }),
		count("malformed", "Replies that could not be decoded or did not match the request.", func(c *counts) uint64 { return c.malformed }),
		count("behind", "Replies of nodes whose state was older than required.", func(c *counts) uint64 { return c.behind }),
		count("not_fresh", "Replies of nodes that were not allowed to decide.", func(c *counts) uint64 { return c.notFresh }),
		count("unproven", "Answers that were not used because the node's proof was missing, not of this run, or older than the lease.", func(c *counts) uint64 { return c.unproven }),
		count("version", "Replies of nodes that could not read the version of the message.", func(c *counts) uint64 { return c.version }),
		count("busy", "Replies of nodes that had too many messages waiting.", func(c *counts) uint64 { return c.busy }),
		count("bad", "Messages that a node could not read or decide.", func(c *counts) uint64 { return c.bad }),
		count("unavailable", "Calls that failed because no node answers.", func(c *counts) uint64 { return c.unavailable }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_asker_pending", Help: "Requests that wait for their result."}, func() float64 {
			a.mu.Lock()
			defer a.mu.Unlock()
			return float64(a.core.pending)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_asker_out_seconds", Help: "For how long no node has answered; 0 while a node answers."}, func() float64 {
			lasted, _ := a.Available()
			return lasted.Seconds()
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_asker_nodes", Help: "Policy nodes that are heard over a link and ready."}, func() float64 {
			a.mu.Lock()
			defer a.mu.Unlock()
			ready, _ := a.core.readyNodes()
			return float64(ready)
		}),
		a.latency, a.proofAge,
	}
	for _, l := range a.links {
		collectors = append(collectors, a.linkUp(l))
	}
	for _, c := range collectors {
		if err := a.cfg.Metrics.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// linkUp returns the metric of a link's state.
func (a *Asker) linkUp(l *asking) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_gateway_links_connected", Help: "1 while the link to this NATS server is connected.",
		ConstLabels: prometheus.Labels{"link": l.Name},
	}, func() float64 {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.core.links[l.index].connected {
			return 1
		}
		return 0
	})
}

// directoryCounts are the counters of a SessionDirectory.
type directoryCounts struct{ queries, unanswered, incredible, turnedAway uint64 }

// Register registers the SessionDirectory's metrics.
func (d *SessionDirectory) Register(r prometheus.Registerer) error {
	read := func(of func() float64) func() float64 {
		return func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return of()
		}
	}
	// The metrics keep the older name census, because dashboards use it.
	count := func(name, help string, n *uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "postern_census_" + name + "_total", Help: help}, read(func() float64 { return float64(*n) }))
	}
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "postern_census_" + name, Help: help}, read(of))
	}
	for _, m := range []prometheus.Collector{
		count("inquiries", "Queries about live sessions.", &d.counts.queries),
		count("unanswered", "Missing answers, counted once for each query and gateway.", &d.counts.unanswered),
		count("not_credible", "Answers of gateways that could not be decoded or held sessions outside the query.", &d.counts.incredible),
		count("turned_away", "Queries refused because too many were in progress.", &d.counts.turnedAway),
		gauge("gateways", "Gateways that are expected to answer.", func() float64 { return float64(len(d.known)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_gateway_duplicates",
			Help: "Ids that two gateways use at the same time. Neither is answered.",
		}, read(func() float64 { return float64(d.duplicates(time.Now())) })),
		gauge("silent", "Gateways that did not answer a query and have sent nothing since.", func() float64 { return float64(len(d.silent)) }),
	} {
		if err := r.Register(m); err != nil {
			return err
		}
	}
	return nil
}

// register creates and registers the Responder's counter.
func (r *Responder) register() error {
	r.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_responder_refused_batches_total",
		Help: "Gateways' batches that were not decided, by reason: unreadable, reply-to, panic, version, busy, duplicate (two gateways with one id), twin (two nodes with one id).",
	}, []string{"reason"})
	for _, reason := range refusals {
		r.refused.WithLabelValues(reason)
	}
	if r.cfg.Metrics == nil {
		return nil
	}
	return r.cfg.Metrics.Register(r.refused)
}
