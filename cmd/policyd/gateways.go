package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-im/postern/decision/overnats"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/internal/natsserver"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// applyWithin bounds how long the answer to a command waits until the registry is in
// force at this node. That takes milliseconds.
const applyWithin = 2 * time.Second

// addAgain is the time between two attempts to add a configured gateway to the log,
// for example while the disk is full.
const addAgain = 5 * time.Second

// A keyring keeps the users of the NATS server, and the gateways that are asked about
// sessions, equal to the registry of gateways in the log. When it starts, it adds to
// the log each configured gateway that the log has never known.
type keyring struct {
	node      *node.Node
	directory *overnats.SessionDirectory
	logger    *slog.Logger
	// configured are the ids in the configuration; a cluster has none. seedFile
	// returns the path of the key that policyd makes for one of them.
	configured []string
	seedFile   func(id string) string
	// server is the embedded NATS server, own its user for this node, and refusals
	// reports the clients that it turns away. With external servers all three are
	// empty, the configured gateways are expected without a key, and the registry does
	// not decide who can connect.
	server   *natsserver.Server
	own      natsserver.User
	refusals *refusals

	// copied waits while this node joins a cluster, and returns the position from which on
	// a View has the cluster's gateways. Nil means that each View has them.
	copied func(context.Context) (events.Position, error)

	// known is closed once the server has its users. It stays open if the node stops
	// before: a server without users would tell each gateway that its key is unknown.
	known chan struct{}
	once  sync.Once // closes known
	// ended is closed when Run ends.
	ended chan struct{}
	// live are the ids that may connect at present. Only Run uses it.
	live map[string]bool

	mu      sync.Mutex      // guards the fields below
	applied events.Position // the View that the server and the directory have
	changed chan struct{}   // closed and replaced with each change of applied
}

func newKeyring(configured []string, seedFile func(id string) string, logger *slog.Logger) *keyring {
	return &keyring{configured: configured, seedFile: seedFile, logger: logger, known: make(chan struct{}), ended: make(chan struct{}), changed: make(chan struct{})}
}

// Run follows the registry until ctx ends. It returns an error if a key file cannot be
// used, or if the NATS server refuses the users.
func (k *keyring) Run(ctx context.Context) error {
	defer close(k.ended)
	var from events.Position
	var err error
	if k.copied != nil {
		if from, err = k.copied(ctx); err != nil {
			return k.end(ctx, err)
		}
	}
	v, err := k.node.AwaitView(ctx, func(v *projections.View) bool { return v.Position() >= from })
	if err != nil {
		return k.end(ctx, err)
	}
	var missing []string
	if k.server != nil {
		missing = k.compare(v)
	}
	for {
		if missing, err = k.add(ctx, missing); err != nil {
			return err
		}
		v = k.node.View()
		if err := k.apply(v); err != nil {
			return err
		}
		k.open()
		wait, cancel := ctx, context.CancelFunc(func() {})
		if len(missing) > 0 {
			wait, cancel = context.WithTimeout(ctx, addAgain)
		}
		_, err := k.node.AwaitView(wait, func(next *projections.View) bool {
			return next.Installation().Version() != v.Installation().Version()
		})
		cancel()
		if ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return k.end(ctx, err)
		}
	}
}

// open lets the NATS server start.
func (k *keyring) open() { k.once.Do(func() { close(k.known) }) }

// end reports that the node has stopped, so that the registry does not change any more.
func (k *keyring) end(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		k.logger.Error("the gateways' keys are not kept up to date any more", "error", err)
	}
	return nil
}

// compare returns the configured gateways that the log has never known. For the others
// the log decides, so it logs where the configuration says something else.
func (k *keyring) compare(v *projections.View) (unknown []string) {
	for _, id := range k.configured {
		g := v.Installation().Gateway(id)
		if g == nil {
			unknown = append(unknown, id)
			continue
		}
		if g.Removed != 0 {
			k.logger.Warn("a gateway that was removed is still in the configuration; it stays removed", "gateway", id, "removed", g.Removed,
				"remedy", "take it out of gateways of [nats]; or register it again with a new key: policyctl gateway add "+id)
			continue
		}
		file := k.seedFile(id)
		switch public, err := natsserver.ReadSeed(file); {
		case errors.Is(err, fs.ErrNotExist): // only the gateway needs it
		case err != nil:
			k.logger.Warn("the key file of a gateway cannot be read; the key in the log counts", "gateway", id, "error", err)
		case public != g.PublicKey:
			k.logger.Warn("the key file of a gateway does not have the key that is registered; the key in the log counts, and a gateway with this file is turned away",
				"gateway", id, "file", file, "key_of_file", public, "key", g.PublicKey,
				"remedy", "remove the file, or register its key: policyctl gateway remove "+id+", then policyctl gateway add "+id+" --public-key "+public)
		}
	}
	return unknown
}

// add registers configured gateways with the keys in their files, which it makes if
// they are missing. It returns the gateways that are to be tried again. It returns an
// error only if a file cannot be used.
func (k *keyring) add(ctx context.Context, ids []string) (again []string, err error) {
	for _, id := range ids {
		if k.node.View().Installation().Gateway(id) != nil {
			continue // it was added, and perhaps removed again, since the last attempt
		}
		public, err := natsserver.EnsureSeed(k.seedFile(id))
		if err != nil {
			return nil, fmt.Errorf("key of gateway %s: %w", id, err)
		}
		result, err := k.node.Execute(ctx, tenants.Command{
			Actor: tenants.Actor{Name: "policyd", Operator: true}, ID: "configured-gateway-" + id, Reason: "named in gateways of [nats]",
			Change: tenants.AddGateway{ID: id, PublicKey: public},
		})
		switch _, refused := errors.AsType[tenants.Errors](err); {
		case ctx.Err() != nil:
			return nil, nil
		case refused:
			k.logger.Error("a configured gateway cannot be registered", "gateway", id, "error", err)
		case err != nil:
			k.logger.Error("a configured gateway is not registered yet; policyd tries again", "gateway", id, "error", err)
			again = append(again, id)
		default:
			k.logger.Info("a configured gateway was registered", "gateway", id, "key", public, "position", result.Position)
		}
	}
	return again, nil
}

// apply gives the registry of a View to the NATS server and the session directory.
func (k *keyring) apply(v *projections.View) error {
	live := map[string]bool{}
	users := []natsserver.User{k.own}
	for _, g := range v.Installation().Gateways() {
		if g.Removed != 0 {
			continue
		}
		live[g.ID] = true
		rights := overnats.GatewayRights(g.ID)
		users = append(users, natsserver.User{PublicKey: g.PublicKey, Publish: rights.Publish, Subscribe: rights.Subscribe})
	}
	if k.server != nil {
		k.refusals.know(v.Installation().Gateways())
		if err := k.server.SetUsers(users); err != nil {
			return err
		}
	}
	k.sayChanges(live)
	k.live = live
	var expected []string
	for id := range live {
		expected = append(expected, id)
	}
	if k.server == nil {
		expected = append(expected, k.configured...)
	}
	if err := k.directory.Expect(expected); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applied = v.Position()
	close(k.changed)
	k.changed = make(chan struct{})
	return nil
}

// await waits until the registry of a position is in force at this node, but at most
// applyWithin: the registry is in the log already, and every node follows it.
func (k *keyring) await(ctx context.Context, p events.Position) {
	ctx, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	for {
		k.mu.Lock()
		applied, changed := k.applied, k.changed
		k.mu.Unlock()
		if applied >= p {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// sayChanges logs the gateways that came or went since the last call.
func (k *keyring) sayChanges(live map[string]bool) {
	if k.live == nil {
		return
	}
	for id := range live {
		if !k.live[id] {
			k.logger.Info("a gateway was added: it may connect", "gateway", id)
		}
	}
	for id := range k.live {
		if !live[id] {
			k.logger.Info("a gateway was removed: it is cut off", "gateway", id)
		}
	}
}
