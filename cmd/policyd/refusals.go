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

// refusedEach is the time between two log lines about refusals of one client.
const refusedEach = time.Minute

// refusals reports which gateways the embedded NATS server turns away, with the
// reason and the remedy.
type refusals struct {
	logger  *floodlog.Logger
	counter *prometheus.CounterVec
	// gateways maps the public keys of configured gateways to their ids.
	// forgotten does the same for the other keys in the folder, which were made for
	// gateways that are no longer configured.
	gateways, forgotten map[string]string
}

// The values of the metric's label reason.
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
			Help: "Refusals of clients by the embedded NATS server, by reason: no key, unknown key, rights.",
		}, []string{"reason"}),
		gateways: map[string]string{}, forgotten: map[string]string{},
	}
	for _, reason := range []string{refusedNoKey, refusedUnknownKey, refusedRights} {
		r.counter.WithLabelValues(reason)
	}
	return r, registry.Register(r.counter)
}

// remember reads the keys in the folder that belong to no configured gateway. It
// ignores files that it cannot read.
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

// refused counts and logs a refusal by the NATS server.
func (r *refusals) refused(x natsserver.Refusal) {
	id, named := r.gateways[x.Key]
	old, forgotten := r.forgotten[x.Key]
	switch {
	case x.Subject != "" && named:
		r.counter.WithLabelValues(refusedRights).Inc()
		claimed, _ := overnats.GatewayOf(x.Subject)
		r.logger.Say(slog.LevelWarn, x.From, "a gateway uses the key of another id: it is not answered",
			"key_of", id, "id", claimed, "subject", x.Subject,
			"remedy", "give the gateway the id "+id+"; or add its id to gateways of [nats], start policyd again, and give it the seed file that is made for its id")
	case x.Subject != "":
		r.counter.WithLabelValues(refusedRights).Inc()
		r.logger.Say(slog.LevelError, x.From, "a NATS client has no right to use a subject", "key", x.Key, "subject", x.Subject)
	case x.Key == "":
		r.counter.WithLabelValues(refusedNoKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a client without a key is turned away from NATS",
			"remedy", "if it is a gateway, give it a seed_file: nats/ID.nkey in the data folder, for an id in gateways of [nats]")
	case forgotten:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its id is not configured", "id", old, "key", x.Key,
			"remedy", "add "+old+" to gateways of [nats] and start policyd again; or remove nats/"+old+".nkey if the gateway must not connect")
	default:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its key is unknown", "key", x.Key,
			"remedy", "give it the seed file for its id: policyd makes nats/ID.nkey in the data folder for each id in gateways of [nats]")
	}
}
