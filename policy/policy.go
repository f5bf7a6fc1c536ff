// Package policy contains every rule about which stanzas may pass. No other
// package decides.
//
// Decide answers a Question from a View. It is pure: the same View, Question
// and time always give the same Verdict, today and in a replay.
// docs/PERMISSIONS.md lists the rules. outgoing.go contains the table for
// stanzas from a client, incoming.go the table for stanzas from a server.
//
// Anything unknown is refused: an unknown tenant, account or kind, a stanza
// with a fault, a stanza that matches no row.
package policy

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
)

// TableVersion is the version of the rules. Every record of a verdict contains
// it. A replay verifies only the records that have its own version.
const TableVersion = 2

// An Explanation is a Verdict with the reasons for it.
type Explanation struct {
	Verdict decision.Verdict
	// Row describes the row of the table that applied, or one of them if
	// several applied.
	Row string
	// Asked are the permissions that the stanza asks for. Missing are the
	// permissions of Asked that the account does not have.
	Asked, Missing permission.Set
}

// Decide answers q from the state v at time at. It does not keep q.
func Decide(v *projections.View, q *decision.Question, at time.Time) decision.Verdict {
	return Explain(v, q, at).Verdict
}

// Explain answers like Decide and gives the reasons. The time of the decision
// has no effect yet; grants that expire will need it.
func Explain(v *projections.View, q *decision.Question, _ time.Time) Explanation {
	e := explain(v, q)
	e.Verdict.Position = uint64(v.Position())
	return e
}

func explain(v *projections.View, q *decision.Question) Explanation {
	// This version does not support restricted credentials, so it cannot limit
	// the session to its Grant. Such a session is therefore ended.
	if len(q.Session.Grant) != 0 {
		return end(&rowNobody, decision.RolesChanged)
	}
	j := judge{q: q, view: v, tenant: v.Tenant(q.Session.Tenant), domain: domainOf(q.Session.Account)}
	if j.tenant == nil {
		return end(&rowNobody, decision.RolesChanged)
	}
	var known bool
	j.access, known = j.tenant.Access(q.Session.Account, j.domain)
	switch {
	case !known:
		return end(&rowNobody, decision.RolesChanged)
	case j.access.Suspended:
		return end(&rowRevoked, decision.RolesChanged)
	case uint64(j.access.RevokedAt) > q.Session.Opened:
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

// also adds the permissions of another row that applies. The explanation then
// names that row.
func (e *Explanation) also(r *row) {
	e.Row = r.what
	e.Asked |= r.asks
}
