package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/internal/floodlog"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/projections"
)

// refusedEach is the time between two log lines about refusals of one client.
const refusedEach = time.Minute

// refusals reports which gateways the embedded NATS server turns away, with the
// reason and the remedy.
type refusals struct {
	logger  *floodlog.Logger
	counter *prometheus.CounterVec
	// made has the ids of the keys in the folder, by public key. Only remember
	// changes it, before the server runs.
	made map[string]string
	// registered are the registrations of gateways, by public key. The keyring
	// replaces the map; the server's goroutines read it.
	registered atomic.Pointer[map[string]*projections.Gateway]
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
		made: map[string]string{},
	}
	r.know(nil)
	for _, reason := range []string{refusedNoKey, refusedUnknownKey, refusedRights} {
		r.counter.WithLabelValues(reason)
	}
	return r, registry.Register(r.counter)
}

// know replaces the registrations of gateways, removed ones included.
func (r *refusals) know(list []*projections.Gateway) {
	byKey := make(map[string]*projections.Gateway, len(list))
	for _, g := range list {
		byKey[g.PublicKey] = g
	}
	r.registered.Store(&byKey)
}

// remember reads the keys in the folder. policyd made them for gateways that its
// configuration named. It ignores files that it cannot read.
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
		if public, err := natsserver.ReadSeed(filepath.Join(folder, f.Name())); err == nil {
			r.made[public] = id
		}
	}
}

// refused counts and logs a refusal by the NATS server.
func (r *refusals) refused(x natsserver.Refusal) {
	g, registered := (*r.registered.Load())[x.Key]
	made, inFolder := r.made[x.Key]
	switch {
	case x.Subject != "" && registered:
		r.counter.WithLabelValues(refusedRights).Inc()
		claimed, ok := overnats.GatewayOf(x.Subject)
		if !ok || claimed == g.ID {
			r.logger.Say(slog.LevelError, x.From, "a gateway's key is used for a subject that gateways have no right to: this is refused", "id", g.ID, "subject", x.Subject,
				"remedy", "upgrade policyd if the gateway has a newer version; otherwise another program may have the key: policyctl gateway remove "+g.ID+" cuts it off")
			return
		}
		r.logger.Say(slog.LevelWarn, x.From, "a gateway uses the key of another id: it is not answered",
			"key_of", g.ID, "id", claimed, "subject", x.Subject,
			"remedy", "give the gateway the id "+g.ID+"; or give it a key of its own: policyctl gateway add prints one")
	case x.Subject != "":
		r.counter.WithLabelValues(refusedRights).Inc()
		r.logger.Say(slog.LevelError, x.From, "a NATS client has no right to use a subject", "key", x.Key, "subject", x.Subject)
	case x.Key == "":
		r.counter.WithLabelValues(refusedNoKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a client without a key is turned away from NATS",
			"remedy", "if it is a gateway, give it a seed_file: policyctl gateway add prints a seed")
	case registered && g.Removed != 0:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: it was removed", "id", g.ID, "key", x.Key, "removed", g.Removed,
			"remedy", "stop the gateway; or give it a new key: policyctl gateway add "+g.ID+" prints one")
	case inFolder:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its key is not registered", "id", made, "key", x.Key,
			"remedy", "policyctl gateway add "+made+" --public-key "+x.Key+"; or remove nats/"+made+".nkey if the gateway must not connect")
	default:
		r.counter.WithLabelValues(refusedUnknownKey).Inc()
		r.logger.Say(slog.LevelWarn, x.From, "a gateway is turned away: its key is unknown", "key", x.Key,
			"remedy", "give it the seed of its id; policyctl gateway list shows the keys, and policyctl gateway add makes one")
	}
}
