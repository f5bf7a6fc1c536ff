package policy

import (
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/stanza"
)

// Reduce returns everything that the rules read of q. The state v and the session's
// tenant t say which domains are local. Without a tenant every address outside the
// account's own domain counts as remote.
func Reduce(v *projections.View, t *projections.Tenant, q *decision.Question) decision.Facts {
	var f decision.Facts
	reduce(&f, v, t, q)
	return f
}

func reduce(f *decision.Facts, v *projections.View, t *projections.Tenant, q *decision.Question) {
	d := &q.Desc
	f.Direction, f.Kind, f.Type, f.Fault, f.Marks = q.Direction, d.Kind, d.Type, d.Fault, d.Marks
	f.Joined, f.MUC, f.Queried, f.Outstanding = q.Joined, q.MUC, q.Queried, q.Outstanding
	p := places{view: v, tenant: t, account: q.Session.Account, domain: domainOf(q.Session.Account)}
	peer := d.To
	if q.Direction == decision.In {
		peer = d.From
		f.ToResource = d.To.HasResource()
	}
	f.Peer = p.classOf(peer)
	f.PeerLocal, f.PeerResource = peer.HasLocal(), peer.HasResource()
	if q.Direction == decision.Out {
		f.PeerServed = f.Peer&(localUser|remote) != 0 && p.isServed(peer)
		f.RemoteInside = p.anyRemote(d.Addressed) || actsOnInside(f) && p.anyRemote(d.Inside)
	}
	if d.Kind == stanza.IQ && len(d.Payloads) == 1 {
		f.HasPayload, f.Payload = true, reducePart(&d.Payloads[0])
	}
	if readsParts(f) {
		for i := range d.Parts {
			part := reducePart(&d.Parts[i])
			if part.Node == decision.CapsNode { // only the payload of a disco get is capabilities
				part.Node = decision.PEPNode
			}
			f.Add(part) // as many as a Descriptor has fit
		}
	}
}

// readsParts reports whether rules read the parts of the stanza: those of private
// storage, of a pubsub request, and of a message with an event.
func readsParts(f *decision.Facts) bool {
	if f.Kind == stanza.Message {
		return f.Has(stanza.IsEvent)
	}
	return f.HasPayload && in(stanza.Private, stanza.PubSub, stanza.PubSubOwner)&(1<<f.Payload.Space) != 0
}

func reducePart(p *stanza.Part) decision.FactPart {
	part := decision.FactPart{Space: p.Space, Name: decision.FactNameOf(p.Local), Inner: p.Inner}
	if p.HasNode {
		part.Node = nodeClass(p.Node)
	}
	return part
}

// actsOnInside reports whether the receiver of the stanza may act on addresses
// anywhere in the payload. A service does so for an iq set.
func actsOnInside(f *decision.Facts) bool {
	return f.Kind == stanza.IQ && f.Type == stanza.Set && f.Peer == localService
}
