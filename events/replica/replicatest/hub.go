// Package replicatest tests clusters of real replicas with real event logs in one
// process. It has an order and peers in memory, and the suite that every transport
// of a replica must pass. It is for tests only.
package replicatest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/events/replica"
)

// A Hub is an order and the connection of all nodes, in memory. It keeps the
// promises of a Sequencer and of Peers, and no more: it loses, repeats and delays a
// part of the offers.
type Hub struct {
	mu      sync.Mutex // guards all fields below
	rng     *rand.Rand
	loss    float64 // the part of the offers that is lost, repeated, and delayed
	entries []replica.Entry
	grown   chan struct{} // closed and replaced when entries grow
	late    [][]byte      // delayed offers
	ports   map[string]*port
}

// NewHub returns a Hub without entries. It loses, repeats and delays each the given
// part of the offers.
func NewHub(seed uint64, loss float64) *Hub {
	return &Hub{rng: rand.New(rand.NewPCG(seed, 0)), loss: loss, grown: make(chan struct{}), ports: map[string]*port{}}
}

// A port is a node's connection to the hub.
type port struct {
	hub    *Hub
	node   string
	log    *eventlog.Log
	states chan []byte
}

// Connect connects a node.
func (h *Hub) Connect(node string, log *eventlog.Log) (replica.Sequencer, replica.Peers, func(), error) {
	p := &port{hub: h, node: node, log: log, states: make(chan []byte, 64)}
	h.mu.Lock()
	h.ports[node] = p
	h.mu.Unlock()
	return p, p, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.ports[node] == p {
			delete(h.ports, node)
		}
	}, nil
}

// Lose loses, repeats and delays each the given part of the offers from now on; 1
// loses all.
func (h *Hub) Lose(part float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loss = part
}

// Settle orders the delayed offers.
func (h *Hub) Settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, data := range h.late {
		h.order(data)
	}
	h.late = nil
}

// Truncate removes the newest entries from the order, which no sound sequencer
// does.
func (h *Hub) Truncate(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = h.entries[:len(h.entries)-n]
}

// Order puts an entry into the order.
func (h *Hub) Order(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order(data)
}

// Entries returns the entries so far.
func (h *Hub) Entries() []replica.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.entries)
}

// order appends an entry. The caller holds mu.
func (h *Hub) order(data []byte) {
	h.entries = append(h.entries, replica.Entry{Seq: uint64(len(h.entries) + 1), Data: slices.Clone(data)})
	close(h.grown)
	h.grown = make(chan struct{})
}

func (p *port) Offer(data []byte) {
	h := p.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch chance := h.rng.Float64(); {
	case chance < h.loss:
		return
	case chance < 2*h.loss:
		h.order(data)
		h.order(data)
	case chance < 3*h.loss:
		h.late = append(h.late, slices.Clone(data))
	default:
		h.order(data)
	}
	if len(h.late) > 0 && h.rng.IntN(4) == 0 {
		h.order(h.late[0])
		h.late = h.late[1:]
	}
}

func (p *port) Follow(ctx context.Context, after uint64, fn func([]replica.Entry) error) error {
	for {
		p.hub.mu.Lock()
		entries, grown := p.hub.entries, p.hub.grown
		p.hub.mu.Unlock()
		if after > uint64(len(entries)) {
			return replica.ErrShort
		}
		if news := entries[after:]; len(news) > 0 {
			if err := fn(news); err != nil {
				return err
			}
			after += uint64(len(news))
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *port) State() replica.SequencerState {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	return replica.SequencerState{Leader: "memory", Last: uint64(len(p.hub.entries))}
}

func (p *port) Tell(state []byte) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	for name, other := range p.hub.ports {
		if name == p.node {
			continue
		}
		select {
		case other.states <- slices.Clone(state):
		default: // lost
		}
	}
}

func (p *port) Listen(ctx context.Context, fn func([]byte)) error {
	for {
		select {
		case state := <-p.states:
			fn(state)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *port) Copy(ctx context.Context, from, to events.Position, fn func([][]byte) error) error {
	p.hub.mu.Lock()
	var source *eventlog.Log
	for name, other := range p.hub.ports {
		if head, _ := other.log.Head(); name != p.node && head >= to {
			source = other.log
		}
	}
	p.hub.mu.Unlock()
	if source == nil {
		return errors.New("no node has the commits")
	}
	for from <= to {
		records, err := source.Records(from, events.MaxSize)
		if err != nil {
			return err
		}
		records = records[:min(len(records), int(to-from)+1)]
		if err := fn(records); err != nil {
			return err
		}
		from += events.Position(len(records))
	}
	return ctx.Err()
}
