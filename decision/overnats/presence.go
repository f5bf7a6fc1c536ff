package overnats

import (
	"slices"
	"strings"
	"time"
)

const (
	// hereFor is how long after its last announcement a gateway counts as
	// connected: it may have lost two announcements.
	hereFor = 3 * announceEach
	// removedFor is how long announcements of a removed gateway are ignored. They
	// may have waited in a queue when the gateway was removed.
	removedFor = 3 * announceEach
)

// heard is what a gateway last announced.
type heard struct {
	at   time.Time
	gone bool // it announced that it stops
}

// A Presence says what a SessionDirectory knows about one gateway.
type Presence struct {
	Gateway string
	// Expected: the gateway was given to NewSessionDirectory or Expect.
	Expected bool
	// Heard is when the gateway last announced itself. It is zero if it has not done
	// so since the directory runs.
	Heard time.Time
	// Here: the gateway announces itself at present.
	Here bool
	// Twice: two gateways use the id.
	Twice bool
}

// Expect replaces the gateways that are expected to answer. A gateway that was
// expected and is not any more is forgotten: it is not asked, and nothing waits for
// it.
func (d *SessionDirectory) Expect(gateways []string) error {
	expected := make(map[string]bool, len(gateways))
	for _, g := range gateways {
		if err := checkID("gateway", g); err != nil {
			return err
		}
		expected[g] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for g, at := range d.removed {
		if now.Sub(at) >= removedFor {
			delete(d.removed, g)
		}
	}
	for g, told := range d.known {
		if told && !expected[g] {
			d.forget(g)
			d.removed[g] = now
		}
	}
	for g := range expected {
		d.known[g] = true
		delete(d.removed, g)
	}
	return nil
}

// forget removes a gateway. The caller holds mu.
func (d *SessionDirectory) forget(gateway string) {
	delete(d.known, gateway)
	delete(d.silent, gateway)
	delete(d.runs, gateway)
	delete(d.heard, gateway)
	for _, o := range d.open {
		waited, asked := o.asked[gateway]
		delete(o.asked, gateway)
		if asked && waited {
			o.answered()
		}
	}
}

// Presence lists the known gateways, by id.
func (d *SessionDirectory) Presence() []Presence {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	list := make([]Presence, 0, len(d.known))
	for g, told := range d.known {
		h := d.heard[g]
		list = append(list, Presence{
			Gateway: g, Expected: told, Heard: h.at,
			Here:  !h.at.IsZero() && !h.gone && now.Sub(h.at) < hereFor,
			Twice: d.runs[g].twice(now),
		})
	}
	slices.SortFunc(list, func(a, b Presence) int { return strings.Compare(a.Gateway, b.Gateway) })
	return list
}
