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

// metrics are the metrics of a gateway. No label has a value that a client can
// choose.
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
		negotiations: byCondition("postern_gateway_negotiations_total", "Negotiations that have ended, by result: a stream error, bound, closed by the client, or log-in-failed."),
		negotiating: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postern_gateway_negotiation_seconds", Help: "Time from the accepted connection to the bound session.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 11),
		}),
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_gateway_sessions", Help: "Bound sessions.",
		}),
		ended:         byCondition("postern_gateway_sessions_ended_total", "Sessions that have ended, by stream error, or closed by the client."),
		loginFailures: byCondition("postern_gateway_login_failures_total", "Failed log-ins, by SASL condition."),
		loginsLimited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_gateway_auth_throttled_total", Help: "Log-ins that the gateway refused without asking the server, by limit: account or address.",
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

// dialMetrics returns the metrics of connections being made to backends.
func dialMetrics(n *negotiate.Negotiator) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_gateway_backend_dials_waiting",
			Help: "Clients that wait for their turn to connect to a backend.",
		}, func() float64 { waiting, _ := n.Dials(); return float64(waiting) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postern_gateway_backend_dials",
			Help: "Connections to backends that have not sent their stream features yet.",
		}, func() float64 { _, underWay := n.Dials(); return float64(underWay) }),
	}
}

// verdictMetrics returns the metrics that all sessions count together.
func verdictMetrics(s *session.Shared) (all []prometheus.Collector) {
	for d, name := range [...]string{decision.Out: "out", decision.In: "in"} {
		for e := decision.Pass; int(e) < len(s.Effects[d]); e++ {
			c := &s.Effects[d][e]
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "postern_gateway_stanzas_total",
				Help:        "Stanzas by direction and effect of their verdict.",
				ConstLabels: prometheus.Labels{"direction": name, "effect": e.String()},
			}, func() float64 { return float64(c.Load()) }))
		}
		for f := stanza.NoFault + 1; f < stanza.NumFaults; f++ {
			c := &s.Faults[d][f]
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "postern_gateway_stanzas_faulty_total",
				Help:        "Stanzas that did not pass because they could not be described, by direction and cause.",
				ConstLabels: prometheus.Labels{"direction": name, "cause": f.String()},
			}, func() float64 { return float64(c.Load()) }))
		}
	}
	for by, name := range [...]string{session.ThrottledBytes: "bytes", session.ThrottledStanzas: "stanzas"} {
		c := &s.Throttled[by]
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "postern_gateway_throttled_seconds_total",
			Help:        "Time during which the gateway did not read from clients over a rate limit, by limit.",
			ConstLabels: prometheus.Labels{"by": name},
		}, func() float64 { return time.Duration(c.Load()).Seconds() }))
	}
	return append(all,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_verdicts_stale_total",
			Help: "Verdicts that were too old when their stanza was to be written, and were asked for again.",
		}, func() float64 { return float64(s.Stale.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_questions_unanswered_total",
			Help: "Questions that no policy node answered in time.",
		}, func() float64 { return float64(s.Outages.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "postern_gateway_questions_undecidable_total",
			Help: "Questions that a policy node could not decide; the gateway refused their stanzas.",
		}, func() float64 { return float64(s.Undecidable.Load()) }))
}
