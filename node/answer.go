package node

import (
	"bytes"
	"fmt"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// Answer decides a batch from the newest View, and records the decisions before it
// returns. It implements the Decider of decision/overnats.
//
// The reply proves the View that decided, and no newer one. The View is therefore
// loaded first, and the proof is taken for its position.
func (n *Node) Answer(b *decision.Batch, r *decision.Reply) {
	v := n.view.Load()
	r.At = n.mark(v)
	r.Results = r.Results[:0]
	switch {
	case v == nil || n.decides() != nil:
		r.Status = decision.StatusNotFresh
		return
	case b.AtLeast.LogID == n.cfg.LogID && b.AtLeast.Position > r.At.Position:
		r.Status = decision.StatusBehind
		return
	}
	proven, ok := n.prove(b, v)
	if !ok {
		r.Status = decision.StatusNotFresh
		return
	}
	at := time.Now()
	for i := range b.Requests {
		r.Results = append(r.Results, n.decide(v, &b.Requests[i], at))
	}
	if len(r.Results) > 0 {
		if err := n.record(b, r.Results, v, at); err != nil {
			n.stopRecording(err)
			r.Results = r.Results[:0]
			r.Status = decision.StatusNotFresh
			return
		}
	}
	// The node may have stopped while it wrote the records.
	if n.decides() != nil {
		r.Results = r.Results[:0]
		r.Status = decision.StatusNotFresh
		return
	}
	r.Status, r.Proven = decision.StatusOK, proven
	n.metrics.answered(r.Results, time.Since(at))
}

// prove returns the challenge of the gateway for which v is proven. ok is false if
// there is none.
//
// A node that stands alone acknowledges a commit only after its View includes the
// commit. The View was loaded after the gateway sent the batch, so it is proven for
// the challenge of the batch. The gateway of a batch without a challenge knows that
// too, and dates the answer by itself. In a cluster such a batch has no answer,
// because the gateway would take an old state for a new one.
func (n *Node) prove(b *decision.Batch, v *projections.View) (challenge uint64, ok bool) {
	if n.cfg.Prover == nil {
		return b.Challenge, true
	}
	if b.Challenge == decision.NoChallenge {
		return decision.NoChallenge, false
	}
	challenge = n.cfg.Prover.Prove(b.Gateway, b.Challenge, v.Position())
	return challenge, challenge != decision.NoChallenge
}

func (n *Node) decide(v *projections.View, q *decision.Request, at time.Time) decision.Result {
	switch q.Kind {
	case decision.Ask:
		return decision.Result{Kind: q.Kind, Verdict: n.stamp(n.judge(v, &q.Question, at), v)}
	case decision.Admit:
		return decision.Result{Kind: q.Kind, Admission: n.admit(v, q.Domain)}
	case decision.Open:
		return decision.Result{Kind: q.Kind, Opening: n.open(v, &q.Session)}
	}
	panic(fmt.Sprintf("node: request of kind %d", q.Kind))
}

// judge asks package policy for the verdict, if the session was opened under this
// log. Otherwise it ends the session, because positions of two logs cannot be
// compared. For example, after a restore a newer revocation may be at a lower
// position than the session's. For the same reason it ends a session that was opened at
// a position that the View does not have: a cluster that has lost most of its nodes may
// have given up commits. A node that is only behind answers StatusBehind instead.
func (n *Node) judge(v *projections.View, q *decision.Question, at time.Time) decision.Verdict {
	if string(q.Session.OpenedLog) != n.cfg.LogID || q.Session.Opened > uint64(v.Position()) {
		return decision.Verdict{Effect: decision.End, Reason: decision.RolesChanged}
	}
	return policy.Decide(v, q, at)
}

// stamp sets the log and the position from which the verdict was made.
func (n *Node) stamp(verdict decision.Verdict, v *projections.View) decision.Verdict {
	verdict.LogID, verdict.Position = n.cfg.LogID, uint64(v.Position())
	return verdict
}

// admit decides whether a domain is served, and by which backends. A domain is
// unknown to clients if it or its tenant is suspended, if it has no backends, or if
// its name is not a domain name.
func (n *Node) admit(v *projections.View, name []byte) decision.Admission {
	a := decision.Admission{LogID: n.cfg.LogID, Position: uint64(v.Position())}
	domain, err := jid.Domain(string(name))
	if err != nil {
		return a
	}
	t, place := v.Owner([]byte(domain))
	if t == nil || place != projections.Domain || t.Suspended() {
		return a
	}
	info, ok := t.Domain([]byte(domain))
	if !ok || info.Suspended || len(info.Backends) == 0 {
		return a
	}
	a.Known, a.Tenant, a.Domain, a.MaxSessions = true, t.ID(), domain, t.MaxSessions()
	for _, b := range info.Backends {
		s := decision.Security(b.Security) // events and decision use the same numbers
		if !s.Valid() {
			return decision.Admission{LogID: a.LogID, Position: a.Position}
		}
		a.Backends = append(a.Backends, decision.Backend{Address: b.Address, Security: s, Proxy: b.Proxy})
	}
	return a
}

// open decides whether a session may begin, and returns its opening position.
func (n *Node) open(v *projections.View, s *decision.Session) decision.Opening {
	o := decision.Opening{LogID: n.cfg.LogID, Position: uint64(v.Position())}
	t := v.Tenant(s.Tenant)
	if t == nil {
		return o
	}
	_, domain, _ := bytes.Cut(s.Account, []byte("@"))
	access, ok := t.Access(s.Account, domain)
	o.Allowed = ok && !access.Suspended
	return o
}
