// Package policy contains every rule about which stanzas may pass. No other
// package decides.
//
// Decide answers a Question from a View. It is pure: the same View, Question
// and time always give the same Verdict, today and in a replay. It reduces the
// question to Facts first, and the rules read nothing but these.
// docs/PERMISSIONS.md lists the rules. outgoing.go contains the table for
// stanzas from a client, incoming.go the table for stanzas from a server.
//
// Anything unknown is refused: an unknown tenant, account or kind, a stanza
// with a fault, a stanza that matches no row.
package policy

import (
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
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

// A Standing is what the rules read of the session and its account.
type Standing struct {
	// Known: the account is an account of the tenant, and the session may use all
	// of the account's permissions.
	Known bool
	// Ended: the account is suspended, or a revocation is newer than the session.
	Ended bool
	// Effective are the permissions of the account.
	Effective permission.Set
}

// StandingOf returns the standing of a session in the state of its tenant. t is
// nil if there is no such tenant.
//
// This version does not support restricted credentials, so it cannot limit a
// session to its Grant. The account of such a session is therefore not known.
func StandingOf(t *projections.Tenant, s *decision.Session) Standing {
	if t == nil || len(s.Grant) != 0 {
		return Standing{}
	}
	access, known := t.Access(s.Account, domainOf(s.Account))
	return Standing{
		Known:     known,
		Ended:     access.Suspended || uint64(access.RevokedAt) > s.Opened,
		Effective: access.Effective,
	}
}

// Decide answers q from the state v of the log logID, at time at. It does not keep
// q.
//
// A session that was opened under another log ends, because positions of two logs
// cannot be compared. For example, after a restore a newer revocation may be at a
// lower position than the session's. For the same reason a session ends that was
// opened at a position that v does not have: a cluster that has lost most of its
// nodes may have given up commits. A node that is only behind must not decide at all.
func Decide(v *projections.View, logID string, q *decision.Question, at time.Time) decision.Verdict {
	if string(q.Session.OpenedLog) != logID || q.Session.Opened > uint64(v.Position()) {
		return decision.Verdict{Effect: decision.End, Reason: decision.RolesChanged, Position: uint64(v.Position())}
	}
	return Explain(v, q, at).Verdict
}

// Explain answers like Decide, for a session that was opened under the log of v,
// and gives the reasons. The time of the decision has no effect yet; grants that
// expire will need it.
func Explain(v *projections.View, q *decision.Question, _ time.Time) Explanation {
	t := v.Tenant(q.Session.Tenant)
	s := StandingOf(t, &q.Session)
	var f decision.Facts
	var settings events.Settings
	if s.Known {
		settings = t.Settings()
		reduce(&f, v, t, q)
	}
	e := JudgeFacts(s, settings, &f)
	e.Verdict.Position = uint64(v.Position())
	return e
}

// JudgeFacts decides about a reduced question. Decide is exactly StandingOf, Reduce
// and JudgeFacts, so a replay runs the code that decided.
func JudgeFacts(s Standing, settings events.Settings, f *decision.Facts) Explanation {
	switch {
	case !s.Known:
		return end(&rowNobody, decision.RolesChanged)
	case s.Ended:
		return end(&rowRevoked, decision.RolesChanged)
	}
	j := judge{facts: f, standing: s, settings: settings}
	switch f.Direction {
	case decision.Out:
		return j.out()
	case decision.In:
		return j.in()
	}
	return end(&rowNobody, decision.RolesChanged)
}

// Asks returns the permissions that a reduced question asks for. They depend on no
// state but the facts.
func Asks(f *decision.Facts) permission.Set {
	return JudgeFacts(Standing{Known: true, Effective: permission.Everything}, events.Settings{}, f).Asked
}

// judge is the state of one decision.
type judge struct {
	facts    *decision.Facts
	standing Standing
	settings events.Settings
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
