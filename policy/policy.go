// Package policy is the only place that says yes or no.
//
// Decide answers a Question from a View; it is pure, so the same View, the
// same Question and the same time always give the same Verdict, today and in a
// replay. The rules are those of docs/PERMISSIONS.md: outgoing.go holds the
// table of what a client sends, incoming.go that of what a server sends.
//
// What is not understood is refused: an unknown tenant, account or kind, a
// stanza with a fault, a row that does not exist.
package policy

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// TableVersion numbers the rules. An audit record carries it; a replay
// verifies records of its own version only.
const TableVersion = 2

// An Explanation is a Verdict with what led to it.
type Explanation struct {
	Verdict decision.Verdict
	// Row names the row of the table that applied.
	Row string
	// Asked is all the stanza asks for, Missing what of that the session's
	// account does not have.
	Asked, Missing permission.Set
}

// Decide answers q by the state v at time at. It keeps nothing of q.
func Decide(v *projections.View, q *decision.Question, at time.Time) decision.Verdict {
	return Explain(v, q, at).Verdict
}

// Explain is Decide with the reasons. at is the time of the decision; no rule
// depends on it yet, grants that expire will.
func Explain(v *projections.View, q *decision.Question, _ time.Time) Explanation {
	e := explain(v, q)
	e.Verdict.Position = uint64(v.Position())
	return e
}

func explain(v *projections.View, q *decision.Question) Explanation {
	// A restricted credential is not known to this version: what it bounds
	// cannot be told, so nothing of it passes.
	if len(q.Session.Grant) != 0 {
		return end(&rowNobody, decision.RolesChanged)
	}
	j := judge{q: q, view: v, tenant: v.Tenant(q.Session.Tenant), domain: domainOf(q.Session.Account)}
	if j.tenant == nil {
		return end(&rowNobody, decision.RolesChanged)
	}
	var known bool
	j.standing, known = j.tenant.Standing(q.Session.Account, j.domain)
	switch {
	case !known:
		return end(&rowNobody, decision.RolesChanged)
	case j.standing.Suspended:
		return end(&rowRevoked, decision.RolesChanged)
	case uint64(j.standing.RevokedAt) > q.Session.Opened:
		return end(&rowRevoked, decision.RolesChanged)
	}
	switch q.Direction {
	case decision.Out:
		j.peer = j.classOf(q.Desc.To)
		return j.out()
	case decision.In:
		j.peer = j.classOf(q.Desc.From)
		return j.in()
	}
	return end(&rowNobody, decision.RolesChanged)
}

func pass(r *row) Explanation {
	return Explanation{Row: r.what, Asked: r.asks, Verdict: decision.Verdict{Effect: decision.Pass}}
}

func drop(r *row, why decision.Reason) Explanation {
	return Explanation{Row: r.what, Verdict: decision.Verdict{Effect: decision.Drop, Reason: why}}
}

func refuse(r *row, why decision.Reason) Explanation {
	return Explanation{Row: r.what, Verdict: decision.Verdict{Effect: decision.Refuse, Reason: why}}
}

func end(r *row, why decision.Reason) Explanation {
	return Explanation{Row: r.what, Verdict: decision.Verdict{Effect: decision.End, Reason: why}}
}

// also applies one more row; the last one names the explanation.
func (e *Explanation) also(r *row) {
	e.Row = r.what
	e.Asked |= r.asks
}
