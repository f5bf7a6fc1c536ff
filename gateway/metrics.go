package gateway

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/gateway/negotiate"
	"github.com/postern-im/postern/gateway/session"
	"github.com/postern-im/postern/xmpp/stanza"
)

// metrics are what the gateway counts. No label holds what a client chose.
type metrics struct {
	accepted, refused prometheus.Counter
	negotiations      *prometheus.CounterVec
	negotiating       prometheus.Histogram
	sessions          prometheus.Gauge
	ended             *prometheus.CounterVec
	loginFailures     *prometheus.CounterVec
	loginsLimited     *prometheus.CounterVec
	overShare         *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, s *session.Shared) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	byCondition := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"condition"})
	}
	m := &metrics{
		accepted:     counter("postern_gateway_connections_accepted_total", "Connections accepted."),
		refused:      counter("postern_gateway_connections_refused_total", "Connections closed at once because of a limit."),
		negotiations: byCondition("postern_gateway_negotiations_total", "Negotiations that have ended, by stream error, bound, closed by the client, or closed after a failed log-in."),
		negotiating: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postern_gateway_negotiation_seconds", Help: "From accept to bound session.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 11),
		}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_gateway_sessions", Help: "Bound sessions.",
		}),
		ended:         byCondition("postern_gateway_sessions_ended_total", "Sessions that have ended, by stream error or closed."),
		loginFailures: byCondition("postern_gateway_login_failures_total", "Failed log-ins, by SASL condition."),
		loginsLimited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_gateway_auth_throttled_total", Help: "Log-ins refused without asking the server, by limit: account or address.",
		}, []string{"by"}),
	}
	m.overShare = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postern_gateway_shares_refused_total", Help: "Connections and sessions refused because of a limit, by limit.",
	}, []string{"by"})
	all := []prometheus.Collector{m.accepted, m.refused, m.negotiations, m.negotiating, m.sessions, m.ended, m.loginFailures, m.loginsLimited, m.overShare}
	all = append(all, verdictMetrics(s)...)
	return m, register(r, all)
}

func register(r prometheus.Registerer, all []prometheus.Collector) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

// dialMetrics exports how busy the way to the backends is.
func dialMetrics(n *negotiate.Negotiator) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_gateway_backend_dials_waiting",
			Help: "Clients that wait for their turn to be connected to a backend.",
		}, func() float64 { waiting, _ := n.Dials(); return float64(waiting) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_gateway_backend_dials",
			Help: "Connections to backends that have not shown their features yet.",
		}, func() float64 { _, underWay := n.Dials(); return float64(underWay) }),
	}
}

// verdictMetrics exports the counters of sessions.
func verdictMetrics(s *session.Shared) (all []prometheus.Collector) {
	for d, name := range [...]string{decision.Out: "out", decision.In: "in"} {
		for e := decision.Pass; int(e) < len(s.Effects[d]); e++ {
			c := &s.Effects[d][e]
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "postern_gateway_stanzas_total",
				Help:        "Stanzas by direction and what became of them.",
				ConstLabels: prometheus.Labels{"direction": name, "effect": e.String()},
			}, func() float64 { return float64(c.Load()) }))
		}
		for f := stanza.NoFault + 1; f < stanza.NumFaults; f++ {
			c := &s.Faults[d][f]
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "postern_gateway_stanzas_faulty_total",
				Help:        "Stanzas that could not be judged by their contents, and so did not pass, by direction and cause.",
				ConstLabels: prometheus.Labels{"direction": name, "cause": f.String()},
			}, func() float64 { return float64(c.Load()) }))
		}
	}
	for by, name := range [...]string{session.ThrottledBytes: "bytes", session.ThrottledStanzas: "stanzas"} {
		c := &s.Throttled[by]
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "postern_gateway_throttled_seconds_total",
			Help:        "Time for which nothing was read from clients that had sent too much, by limit.",
			ConstLabels: prometheus.Labels{"by": name},
		}, func() float64 { return time.Duration(c.Load()).Seconds() }))
	}
	return append(all,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_verdicts_stale_total",
			Help: "Hand-overs whose verdict was too old and asked for again.",
		}, func() float64 { return float64(s.Stale.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_questions_unanswered_total",
			Help: "Questions that no policy node answered in time.",
		}, func() float64 { return float64(s.Outages.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_questions_undecidable_total",
			Help: "Questions that a policy node could not decide; what they were about was refused.",
		}, func() float64 { return float64(s.Undecidable.Load()) }))
}
