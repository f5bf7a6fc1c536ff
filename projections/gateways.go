package projections

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// A Gateway is one registration of a gateway: an id with a key. Once in a View it
// never changes.
type Gateway struct {
	ID        string
	PublicKey string
	Added     events.Position
	// Since is the time of the View at Added, in µs since 1970.
	Since   int64
	Removed events.Position // 0: registered
}

// Gateways lists all registrations by id, and those of one id by position. The
// list has the removed ones too. For each id, only the last one can be in force.
// The caller must change neither the list nor its elements.
func (n *Installation) Gateways() []*Gateway { return n.gateways }

// Gateway returns the last registration of an id, removed or not. It returns nil
// if there was never a gateway with this id.
func (n *Installation) Gateway(id string) *Gateway {
	end := afterGateway(n.gateways, id)
	if end == 0 || n.gateways[end-1].ID != id {
		return nil
	}
	return n.gateways[end-1]
}

// GatewayWithKey returns the registration with a key, removed or not. It returns
// nil if the key was never registered.
func (n *Installation) GatewayWithKey(publicKey string) *Gateway {
	for _, g := range n.gateways {
		if g.PublicKey == publicKey {
			return g
		}
	}
	return nil
}

// afterGateway returns the index behind the last registration of an id.
func afterGateway(list []*Gateway, id string) int {
	i, _ := slices.BinarySearchFunc(list, id, func(g *Gateway, id string) int {
		return cmp.Or(strings.Compare(g.ID, id), -1) // equal ids count as smaller
	})
	return i
}

// foldGateway folds an event about a gateway. v is the View that n belongs to.
func (n *Installation) foldGateway(v *View, e events.Event) error {
	switch e := e.(type) {
	case events.GatewayAdded:
		if g := n.Gateway(e.ID); g != nil && g.Removed == 0 {
			return fmt.Errorf("gateway %q exists already", e.ID)
		}
		if g := n.GatewayWithKey(e.PublicKey); g != nil {
			return fmt.Errorf("the key of gateway %q was registered before, for %q", e.ID, g.ID)
		}
		// Clip makes Insert allocate a new list. Otherwise it could shift
		// elements of a list that an older View shares.
		n.gateways = slices.Insert(slices.Clip(n.gateways), afterGateway(n.gateways, e.ID), &Gateway{
			ID: strings.Clone(e.ID), PublicKey: strings.Clone(e.PublicKey), Added: v.position, Since: v.micros,
		})
		return nil
	case events.GatewayRemoved:
		end := afterGateway(n.gateways, e.ID)
		if end == 0 || n.gateways[end-1].ID != e.ID || n.gateways[end-1].Removed != 0 {
			return fmt.Errorf("gateway %q does not exist or is already removed", e.ID)
		}
		removed := *n.gateways[end-1]
		removed.Removed = v.position
		n.gateways = slices.Clone(n.gateways)
		n.gateways[end-1] = &removed
		return nil
	}
	return errUnknown
}

// gateways writes the list of registrations.
func (e *encoder) gateways(list []*Gateway) {
	e.number(uint64(len(list)))
	for _, g := range list {
		e.text(g.ID)
		e.text(g.PublicKey)
		e.number(uint64(g.Added))
		e.number(uint64(g.Since))
		e.number(uint64(g.Removed))
	}
}

// gateways reads the list of registrations. Each was added by an event of the
// installation, which bounds their number.
func (d *decoder) gateways(n *Installation) {
	keys := map[string]bool{}
	var last Gateway
	d.each(uint64(events.MaxSize)*n.version, func() {
		g := &Gateway{ID: d.text(), PublicKey: d.text(), Added: d.position(1)}
		g.Since = int64(d.number(uint64(max(d.view.micros, 0))))
		g.Removed = d.position(0)
		switch {
		case d.err != nil:
			return
		case g.ID == "" || g.ID < last.ID || g.Removed != 0 && g.Removed < g.Added:
			d.fail("gateway %q is out of order or contradicts itself", g.ID)
		case g.ID == last.ID && (last.Removed == 0 || g.Added < last.Removed):
			d.fail("gateway %q is registered twice at a time", g.ID)
		case g.PublicKey == "" || keys[g.PublicKey]:
			d.fail("the key of gateway %q is missing or registered twice", g.ID)
		}
		keys[g.PublicKey], last = true, *g
		n.gateways = append(n.gateways, g)
	})
	if d.err == nil && len(n.gateways) == 0 {
		d.fail("an empty section of gateways")
	}
}
