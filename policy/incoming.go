package policy

import (
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/stanza"
)

// in decides about a stanza from the server. A forgery is dropped first. Then
// the stanza asks for the permissions of all rows that apply.
func (j *judge) in() Explanation {
	d := &j.q.Desc
	if e, faulty := inFault(d); faulty {
		return e
	}
	var e Explanation
	switch d.Kind {
	case stanza.Message:
		e = j.inMessage()
	case stanza.Presence:
		e = j.inPresence()
	case stanza.IQ:
		e = j.inIQ()
	default:
		return drop(&rowNoStanza, decision.UnsupportedStanzaType)
	}
	if e.Verdict.Reason == decision.Forgery {
		return e
	}
	if j.peer == remote {
		e.Asked |= federate
	}
	e.Missing = e.Asked.Minus(j.access.Effective)
	return j.inEffect(e)
}

func (j *judge) inMessage() Explanation {
	d := &j.q.Desc
	if d.Has(stanza.IsCarbon) && j.peer != ownAccount {
		return drop(&rowForgedCarbon, decision.Forgery)
	}
	if d.Has(stanza.IsArchive) && j.peer != ownAccount && !j.q.Queried {
		return drop(&rowForgedArchive, decision.Forgery)
	}
	if d.Type == stanza.Error {
		e := pass(&rowMessageError)
		if !j.access.Effective.Has(permission.MessagesRead) {
			e.Verdict.Effect = decision.Strip
		}
		return e
	}
	special := d.Marks & (stanza.IsCarbon | stanza.IsArchive | stanza.IsEvent)
	if special == 0 {
		return pass(&rowInMessage)
	}
	e := Explanation{Verdict: decision.Verdict{Effect: decision.Pass}}
	if !d.Has(stanza.IsAlone) {
		e.also(&rowMore)
	}
	if d.Has(stanza.IsCarbon) {
		e.also(&rowCarbon)
	}
	if d.Has(stanza.IsArchive) && j.peer == ownAccount {
		e.also(&rowArchive)
	} else if d.Has(stanza.IsArchive) {
		e.also(&rowRoomArchive)
	}
	if d.Has(stanza.IsEvent) {
		j.event(&e)
	}
	return e
}

// event adds the permissions that the pubsub event in the message asks for.
func (j *judge) event(e *Explanation) {
	d := &j.q.Desc
	if j.peer == ownAccount {
		e.also(&rowOwnEvent)
		e.Asked |= eventAsks(d)
		return
	}
	from := d.From
	bareUser := from.HasLocal() && !from.HasResource() && j.peer&(localUser|remote) != 0
	if d.Type == stanza.Headline && bareUser && d.Has(stanza.IsAlone) {
		e.also(&rowContactEvent)
		return
	}
	e.also(&rowEvent)
}

func (j *judge) inPresence() Explanation {
	d := &j.q.Desc
	switch {
	case j.peer&(ownAccount|ownResource) != 0:
		return pass(&rowOwnPresence)
	case d.Type == stanza.Error:
		e := pass(&rowInPresenceError)
		if !j.access.Effective.Has(permission.MessagesRead) {
			e.Verdict.Effect = decision.Strip
		}
		return e
	case j.joined() && d.Has(stanza.HasMUCUser) && (d.Type == stanza.Available || d.Type == stanza.Unavailable):
		return pass(&rowRoomPresence)
	}
	return pass(&rowInPresence)
}

// joined reports whether the session is in the room that a presence comes from.
// Rooms of the tenant are in its services, never in a domain of users. The
// address of a remote room looks like a user's, so a remote address counts as
// a room if the session asked to join it.
func (j *judge) joined() bool {
	switch j.peer {
	case localService:
		return j.q.Joined
	case remote:
		return j.q.MUC
	}
	return false
}

func (j *judge) inIQ() Explanation {
	d := &j.q.Desc
	if d.Type == stanza.Result || d.Type == stanza.Error {
		if j.peer&own != 0 {
			return pass(&rowInOwnResult)
		}
		if j.q.Outstanding {
			return pass(&rowInResult)
		}
		return drop(&rowInResultUnasked, decision.NotOutstanding)
	}
	if len(d.Payloads) != 1 { // a gateway reports this as a fault
		return refuse(&rowTooMuch, decision.UnavailableUndescribable)
	}
	space := d.Payloads[0].Space
	switch {
	case space == stanza.Roster && d.Type == stanza.Set:
		return j.push(&rowRosterPush)
	case space == stanza.Blocking && d.Type == stanza.Set:
		return j.push(&rowBlockPush)
	case space == stanza.Privacy && d.Type == stanza.Set && j.peer == ownAccount:
		return j.push(&rowPrivacyPush)
	case d.Has(stanza.IsPlain):
		return pass(&rowInHarmless)
	}
	return pass(&rowInRequest)
}

// push decides about a push, an iq set that announces a change of a list. Only
// the own account may send a push.
func (j *judge) push(r *row) Explanation {
	if j.peer != ownAccount {
		return drop(&rowForgedPush, decision.Forgery)
	}
	e := pass(r)
	e.Verdict.Reason = decision.PushRefused // applies only if permissions are missing
	return e
}

// inEffect determines the effect from the missing permissions.
func (j *judge) inEffect(e Explanation) Explanation {
	if e.Verdict.Effect == decision.Drop {
		return e
	}
	push := e.Verdict.Reason == decision.PushRefused
	e.Verdict.Reason = decision.NoReason
	first, refused := e.Missing.First()
	if !refused {
		return e
	}
	e.Verdict.Permission = first.Name()
	switch {
	case push:
		e.Verdict.Effect, e.Verdict.Reason = decision.Drop, decision.PushRefused
	case j.answersSender(first):
		e.Verdict.Effect, e.Verdict.Reason = decision.Refuse, decision.Unavailable
	default:
		e.Verdict.Effect, e.Verdict.Reason = decision.Drop, decision.NoPermission
	}
	return e
}

// answersSender reports whether the sender of a refused stanza gets an error:
// the same error that a server sends if the user is not online.
func (j *judge) answersSender(missing permission.Permission) bool {
	d := &j.q.Desc
	switch d.Kind {
	case stanza.IQ:
		return d.Type == stanza.Get || d.Type == stanza.Set
	case stanza.Message:
		if d.Type != stanza.Chat && d.Type != stanza.Normal {
			return false
		}
		if missing == permission.Federate {
			return true
		}
		// A room removes an occupant who answers it with an error. Therefore a
		// message from the room itself is not answered. A room sends such a
		// message when a visitor asks for voice (XEP-0045 section 7.13).
		ofRoom := j.peer == localService && !d.From.HasResource()
		return !ofRoom && d.To.HasResource() &&
			d.Marks&(stanza.IsCarbon|stanza.IsArchive|stanza.IsEvent|stanza.HasMUCUser) == 0
	}
	return false
}

// inFault decides about a stanza that cannot be judged by its contents. A bad
// embedded address is not a fault here, since the session is the only addressee
// of an incoming stanza.
func inFault(d *stanza.Descriptor) (Explanation, bool) {
	switch d.Fault {
	case stanza.NoFault, stanza.BadEmbedded:
		return Explanation{}, false
	case stanza.BadTo, stanza.BadFrom:
		if d.Kind == stanza.IQ && (d.Type == stanza.Get || d.Type == stanza.Set) {
			return refuse(&rowBadAddress, decision.UnavailableUndescribable), true
		}
		return drop(&rowBadAddress, decision.JIDMalformed), true
	}
	if d.Kind == stanza.IQ && (d.Type == stanza.Get || d.Type == stanza.Set) {
		return refuse(&rowTooMuch, decision.UnavailableUndescribable), true
	}
	return drop(&rowTooMuch, decision.NotAcceptable), true
}
