package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/natsserver"
)

// refusedEach is how often the log repeats that the same gateway is turned away.
const refusedEach = time.Minute

// refusals tell the operator which gateways the embedded NATS server turns
// away, why, and what to do.
type refusals struct {
	logger  *floodlog.Logger
	counter *prometheus.CounterVec
	// gateways are the ids of those that may ask, by public key; forgotten
	// those of other keys in the folder, made for ids no longer named.
	gateways, forgotten map[string]string
}

// The reasons of the metric.
const (
	refusedNoKey      = "no key"
	refusedUnknownKey = "unknown key"
	refusedRights     = "rights"
)

func newRefusals(logger *slog.Logger, registry prometheus.Registerer) (*refusals, error) {
	r := &refusals{
		logger: floodlog.New(floodlog.Config{Logger: logger, Key: "from", Every: refusedEach}),
		counter: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_policyd_refused_gateways_total",
			Help: "Clients of the embedded NATS server that were turned away, each time, by reason: no key, unknown key, rights.",
		}, []string{"reason"}),
		gateways: map[string]string{}, forgotten: map[string]string{},
	}
	for _, reason := range []string{refusedNoKey, refusedUnknownKey, refusedRights} {
		r.counter.WithLabelValues(reason)
	}
	return r, registry.Register(r.counter)
}

// remember reads the keys in the folder that no gateway named has. One that
// cannot be read is nobody's.
func (r *refusals) remember(folder string) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), ".nkey")
		if !ok {
			continue
		}
		public, err := natsserver.ReadSeed(filepath.Join(folder, f.Name()))
		if _, named := r.gateways[public]; err == nil && !named {
			r.forgotten[public] = id
		}
	}
}

// refused takes a refusal of the server's.
func (r *refusals) refused(x natsserver.Refusal) {
	id, named := r.gateways[x.Key]
	old, forgotten := r.forgotten[x.Key]
	switch {
	case x.Subject != "" && named:
		r.counter.WithLabelValues(refusedRights).Inc()
		claimed, _ := overnats.GatewayOf(x.Subject)
		r.logger.Say(slog.LevelWarn, x.From, "a gateway uses the key of another id: it is not answered",
			"key_of", id, "id", claimed, "subject", x.Subject,
			"remedy", "give it id "+id+", or the seed file that is made for its id: name that in gateways of [nats] and start policyd again")
	case x.Subject != "":
		r.counter.WithLabelValues(refusedRights).Inc()
		r.logger.Say(slog.LevelError, x.From, "the NATS server denies what a client has no right to", "key", x.Key, "subject", x.Subject)
	case x.Key == "":
		r.counter.WithLabelValues(refusedNoKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a client without a key is turned away from NATS",
			"remedy", "where it is a gateway, give it a seed_file: nats/ID.nkey in the data folder, for an id in gateways of [nats]")
	case forgotten:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its id is not named", "id", old, "key", x.Key,
			"remedy", "add "+old+" to gateways of [nats] and start policyd again; or remove nats/"+old+".nkey, where it is to stay out")
	default:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its key is unknown", "key", x.Key,
			"remedy", "give it the seed file that is made for its id: nats/ID.nkey in the data folder, for each id in gateways of [nats]")
	}
}
