package policy

import (
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/stanza"
)

// in decides about a stanza from the server. A forgery is dropped first. Then
// the stanza asks for the permissions of all rows that apply.
func (j *judge) in() Explanation {
	f := j.facts
	if e, faulty := inFault(f); faulty {
		return e
	}
	var e Explanation
	switch f.Kind {
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
	if f.Peer == remote {
		e.Asked |= federate
	}
	e.Missing = e.Asked.Minus(j.standing.Effective)
	return j.inEffect(e)
}

func (j *judge) inMessage() Explanation {
	f := j.facts
	if f.Has(stanza.IsCarbon) && f.Peer != ownAccount {
		return drop(&rowForgedCarbon, decision.Forgery)
	}
	if f.Has(stanza.IsArchive) && f.Peer != ownAccount && !f.Queried {
		return drop(&rowForgedArchive, decision.Forgery)
	}
	if f.Type == stanza.Error {
		e := pass(&rowMessageError)
		if !j.standing.Effective.Has(permission.MessagesRead) {
			e.Verdict.Effect = decision.Strip
		}
		return e
	}
	special := f.Marks & (stanza.IsCarbon | stanza.IsArchive | stanza.IsEvent)
	if special == 0 {
		return pass(&rowInMessage)
	}
	e := Explanation{Verdict: decision.Verdict{Effect: decision.Pass}}
	if !f.Has(stanza.IsAlone) {
		e.also(&rowMore)
	}
	if f.Has(stanza.IsCarbon) {
		e.also(&rowCarbon)
	}
	if f.Has(stanza.IsArchive) && f.Peer == ownAccount {
		e.also(&rowArchive)
	} else if f.Has(stanza.IsArchive) {
		e.also(&rowRoomArchive)
	}
	if f.Has(stanza.IsEvent) {
		j.event(&e)
	}
	return e
}

// event adds the permissions that the pubsub event in the message asks for.
func (j *judge) event(e *Explanation) {
	f := j.facts
	if f.Peer == ownAccount {
		e.also(&rowOwnEvent)
		e.Asked |= eventAsks(f)
		return
	}
	bareUser := f.PeerLocal && !f.PeerResource && f.Peer&(localUser|remote) != 0
	if f.Type == stanza.Headline && bareUser && f.Has(stanza.IsAlone) {
		e.also(&rowContactEvent)
		return
	}
	e.also(&rowEvent)
}

func (j *judge) inPresence() Explanation {
	f := j.facts
	switch {
	case f.Peer&(ownAccount|ownResource) != 0:
		return pass(&rowOwnPresence)
	case f.Type == stanza.Error:
		e := pass(&rowInPresenceError)
		if !j.standing.Effective.Has(permission.MessagesRead) {
			e.Verdict.Effect = decision.Strip
		}
		return e
	case j.joined() && f.Has(stanza.HasMUCUser) && (f.Type == stanza.Available || f.Type == stanza.Unavailable):
		return pass(&rowRoomPresence)
	}
	return pass(&rowInPresence)
}

// joined reports whether the session is in the room that a presence comes from.
// Rooms of the tenant are in its services, never in a domain of users. The
// address of a remote room looks like a user's, so a remote address counts as
// a room if the session asked to join it.
func (j *judge) joined() bool {
	f := j.facts
	switch f.Peer {
	case localService:
		return f.Joined
	case remote:
		return f.MUC
	}
	return false
}

func (j *judge) inIQ() Explanation {
	f := j.facts
	if f.Type == stanza.Result || f.Type == stanza.Error {
		if f.Peer&own != 0 {
			return pass(&rowInOwnResult)
		}
		if f.Outstanding {
			return pass(&rowInResult)
		}
		return drop(&rowInResultUnasked, decision.NotOutstanding)
	}
	if !f.HasPayload { // a gateway reports this as a fault
		return refuse(&rowTooMuch, decision.UnavailableUndescribable)
	}
	space := f.Payload.Space
	switch {
	case space == stanza.Roster && f.Type == stanza.Set:
		return j.push(&rowRosterPush)
	case space == stanza.Blocking && f.Type == stanza.Set:
		return j.push(&rowBlockPush)
	case space == stanza.Privacy && f.Type == stanza.Set && f.Peer == ownAccount:
		return j.push(&rowPrivacyPush)
	case f.Has(stanza.IsPlain):
		return pass(&rowInHarmless)
	}
	return pass(&rowInRequest)
}

// push decides about a push, an iq set that announces a change of a list. Only
// the own account may send a push.
func (j *judge) push(r *row) Explanation {
	if j.facts.Peer != ownAccount {
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
	f := j.facts
	switch f.Kind {
	case stanza.IQ:
		return f.Type == stanza.Get || f.Type == stanza.Set
	case stanza.Message:
		if f.Type != stanza.Chat && f.Type != stanza.Normal {
			return false
		}
		if missing == permission.Federate {
			return true
		}
		// A room removes an occupant who answers it with an error. Therefore a
		// message from the room itself is not answered. A room sends such a
		// message when a visitor asks for voice (XEP-0045 section 7.13).
		ofRoom := f.Peer == localService && !f.PeerResource
		return !ofRoom && f.ToResource &&
			f.Marks&(stanza.IsCarbon|stanza.IsArchive|stanza.IsEvent|stanza.HasMUCUser) == 0
	}
	return false
}

// inFault decides about a stanza that cannot be judged by its contents. A bad
// embedded address is not a fault here, since the session is the only addressee
// of an incoming stanza.
func inFault(f *decision.Facts) (Explanation, bool) {
	switch f.Fault {
	case stanza.NoFault, stanza.BadEmbedded:
		return Explanation{}, false
	case stanza.BadTo, stanza.BadFrom:
		if f.Kind == stanza.IQ && (f.Type == stanza.Get || f.Type == stanza.Set) {
			return refuse(&rowBadAddress, decision.UnavailableUndescribable), true
		}
		return drop(&rowBadAddress, decision.JIDMalformed), true
	}
	if f.Kind == stanza.IQ && (f.Type == stanza.Get || f.Type == stanza.Set) {
		return refuse(&rowTooMuch, decision.UnavailableUndescribable), true
	}
	return drop(&rowTooMuch, decision.NotAcceptable), true
}
