package policy

import (
	"slices"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A requestRow is one row of the table for iq get and set from the client. Only
// the first row that matches applies.
type requestRow struct {
	what  string // describes the row, for the printed table
	to    class
	space spaces
	// local, if not nil, lists the local names of the payload that match.
	local []decision.FactName
	// when must hold as well.
	when condition
	// asks are the permissions for a get (read) and a set (write).
	asks pair
	// more says which contents of the payload ask for more permissions.
	more contents
	note string // describes more, for the printed table
}

// spaces is a set of namespaces. everySpace matches every payload, including
// payloads in unknown namespaces or without a namespace.
type spaces uint64

const everySpace = ^spaces(0)

func in(list ...stanza.Space) spaces {
	var s spaces
	for _, space := range list {
		s |= 1 << space
	}
	return s
}

// requestRows is the table for iq get and set. docs/PERMISSIONS.md has the same
// order.
var requestRows = []requestRow{
	{what: "jabber:iq:roster", to: own, space: in(stanza.Roster), asks: contacts},
	{what: "vcard-temp, urn:ietf:params:xml:ns:vcard-4.0", to: own, space: in(stanza.VCardTemp, stanza.VCard4), asks: profile},
	{what: "jabber:iq:private", to: own, space: in(stanza.Private), more: storageParts,
		note: "for every child: storage:bookmarks asks for bookmarks; storage:rosternotes, roster:delimiter, storage:metacontacts ask for contacts; any other child, or no child, asks for legacy-storage"},
	{what: "urn:xmpp:mam:0..2 query, metadata", to: own, space: in(stanza.MAM), local: []decision.FactName{decision.QueryName, decision.MetadataName}, asks: archive},
	{what: "any other urn:xmpp:mam:* query, metadata", to: own, space: in(stanza.MAMOther), local: []decision.FactName{decision.QueryName, decision.MetadataName},
		asks: pair{account.read | archive.read, account.write | archive.write}},
	{what: "urn:xmpp:mam:* prefs", to: own, space: in(stanza.MAM, stanza.MAMOther), local: []decision.FactName{decision.PrefsName}, asks: history},
	{what: "http://jabber.org/protocol/offline", to: own, space: in(stanza.Offline), asks: pair{messages.read, messages.read}, more: offlineActions,
		note: "remove or purge: also history:write"},
	{what: "urn:xmpp:carbons:0..2", to: own, space: in(stanza.CarbonsOld, stanza.Carbons), asks: pair{messages.read, messages.read}},
	{what: "urn:xmpp:blocking, jabber:iq:privacy", to: own, space: in(stanza.Blocking, stanza.Privacy), asks: blocklist},
	{what: "disco#info, disco#items", to: ownAccount, space: in(stanza.DiscoInfo, stanza.DiscoItems), asks: pair{discoRead, account.write}, more: discoNode,
		note: "get with a node: also the read permission of the node"},
	{what: "disco#info, disco#items", to: ownResource, space: in(stanza.DiscoInfo, stanza.DiscoItems), asks: pair{discoRead, account.write}, more: discoNodeNotCaps,
		note: "get with a node that is not a caps node: also the read permission of the node"},
	{what: "pubsub, pubsub#owner", to: own, space: in(stanza.PubSub, stanza.PubSubOwner), more: pubsubParts,
		note: "the permissions of the node of every child, in any namespace, and of every descendant with a node; a child without a node asks for pep; subscribe, unsubscribe, options ask for read and write"},
	{what: "urn:xmpp:push:0", to: own, space: in(stanza.Push), asks: pair{account.write, account.write}, more: pushAction,
		note: "enable: also messages:read"},
	{what: "jabber:iq:register, jabber:iq:auth, commands, urn:xmpp:cam:0, manage-clients", to: own | localServer,
		space: in(stanza.Register, stanza.IQAuth, stanza.Commands, stanza.ClientAccess, stanza.ManageClients), asks: account},
	{what: "urn:xmpp:ping", to: own, space: in(stanza.Ping)},
	{what: "urn:xmpp:ping get, with no child and no attribute", to: localService, space: in(stanza.Ping), when: whenPlain},
	{what: "disco#info, disco#items without a node or with a caps node", to: ownServer, space: in(stanza.DiscoInfo, stanza.DiscoItems), when: whenWithoutNode},
	{what: "urn:ietf:params:xml:ns:xmpp-session", to: ownAccount | ownServer, space: in(stanza.Session)},
	{what: "any other iq, also with no or an unknown payload", to: ownAccount | ownResource, space: everySpace, asks: account},
	{what: "urn:xmpp:mam:* query", to: local | remote, space: in(stanza.MAM, stanza.MAMOther), local: []decision.FactName{decision.QueryName},
		asks: pair{requests.read | archive.read, requests.read | archive.read}},
	{what: "urn:xmpp:http:upload* slot request", to: local | remote, space: in(stanza.Upload), asks: pair{requests.write, requests.write}},
	{what: "any other iq", to: anywhere, space: everySpace, asks: requests},
}

func (r *requestRow) matches(f *decision.Facts, to class) bool {
	if r.to&to == 0 || r.space&(1<<f.Payload.Space) == 0 {
		return false
	}
	if r.local != nil && !slices.Contains(r.local, f.Payload.Name) {
		return false
	}
	return r.when.holds(f)
}

// A condition is a further condition of a row. Conditions and contents are numbers
// and not functions, so that the compiler can keep the facts of a decision on the
// stack.
type condition uint8

const (
	always condition = iota
	whenPlain
	whenWithoutNode
)

func (c condition) holds(f *decision.Facts) bool {
	switch c {
	case whenPlain:
		return isPlain(f)
	case whenWithoutNode:
		return withoutNode(f)
	}
	return c == always
}

// A contents says which part of a request asks for permissions of its own.
type contents uint8

const (
	nothingMore contents = iota
	storageParts
	offlineActions
	discoNode
	discoNodeNotCaps
	pubsubParts
	pushAction
)

func (c contents) asks(f *decision.Facts) permission.Set {
	switch c {
	case storageParts:
		return storageAsks(f)
	case offlineActions:
		return offlineAsks(f)
	case discoNode:
		return discoNodeAsks(f)
	case discoNodeNotCaps:
		return discoAsks(f)
	case pubsubParts:
		return pubsubAsks(f)
	case pushAction:
		return pushAsks(f)
	}
	return 0
}

func withoutNode(f *decision.Facts) bool {
	return f.Payload.Node == decision.NoNode || f.Payload.Node == decision.CapsNode
}

// isPlain matches requests that contain nothing but their defined form. A room
// forwards a request for an occupant to the occupant's client, so only a plain
// ping needs no permission.
func isPlain(f *decision.Facts) bool { return f.Has(stanza.IsPlain) }

// discoAsks returns the permissions for disco requests to a resource. The nodes
// of a client's capabilities ask for none, since they contain no data of the
// account.
func discoAsks(f *decision.Facts) permission.Set {
	if withoutNode(f) {
		return 0
	}
	return discoNodeAsks(f)
}

// discoNodeAsks returns the permissions for the node that a disco get names.
// Every node of an account is a PEP node.
func discoNodeAsks(f *decision.Facts) permission.Set {
	if f.Type != stanza.Get || f.Payload.Node == decision.NoNode {
		return 0
	}
	return nodePair(f.Payload.Node).read
}

func offlineAsks(f *decision.Facts) permission.Set {
	if f.Has(stanza.RemovesOffline) {
		return history.write
	}
	return 0
}

// pushAsks returns the permissions for push requests (XEP-0357). Every request
// except a disable counts as enabling push, which makes the server send message
// data elsewhere.
func pushAsks(f *decision.Facts) permission.Set {
	if f.Payload.Name == decision.DisableName {
		return 0
	}
	return messages.read
}

// out decides about a stanza from the client.
func (j *judge) out() Explanation {
	f := j.facts
	if e, faulty := outFault(f); faulty {
		return e
	}
	var e Explanation
	switch f.Kind {
	case stanza.ClientStateKind:
		return pass(&rowClientState)
	case stanza.Message:
		e = pass(&rowMessage)
	case stanza.Presence:
		e = j.outPresence()
	case stanza.IQ:
		e = j.outIQ()
	}
	if f.Peer == remote || f.RemoteInside {
		e.Asked |= federate
	}
	e.Missing = e.Asked.Minus(j.standing.Effective)
	return j.outEffect(e)
}

func (j *judge) outPresence() Explanation {
	f := j.facts
	switch f.Type {
	case stanza.Available, stanza.Unavailable:
		if f.Type == stanza.Available && f.Peer == ownAccount && !f.Has(stanza.NegativePriority) {
			return pass(&rowPresencePriority)
		}
		return pass(&rowPresence)
	case stanza.Error:
		e := pass(&rowPresenceError)
		e.Verdict.Effect = decision.Strip
		return e
	case stanza.Probe:
		return pass(&rowProbe)
	}
	return pass(&rowSubscription)
}

func (j *judge) outIQ() Explanation {
	f := j.facts
	if f.Type == stanza.Result || f.Type == stanza.Error {
		if f.Peer&own != 0 {
			return pass(&rowOwnResult)
		}
		if f.Outstanding {
			return pass(&rowResult)
		}
		return drop(&rowResultUnasked, decision.NotOutstanding)
	}
	if !f.HasPayload { // a gateway reports this as a fault
		return refuse(&rowTooMuch, decision.NotAcceptable)
	}
	if actsOnInside(f) && f.Marks&(stanza.BadInside|stanza.ManyInside) != 0 {
		if f.Has(stanza.ManyInside) {
			return refuse(&rowTooMuch, decision.NotAcceptable)
		}
		return refuse(&rowBadAddress, decision.JIDMalformed)
	}
	row := rowOf(f, f.Peer)
	if row == nil {
		// The last row matches everything, so this is unreachable. If a change
		// of the table makes it reachable, the request is refused.
		return refuse(&rowTooMuch, decision.NotAcceptable)
	}
	asked := row.asksOf(f)
	if f.Peer&(localUser|remote) != 0 {
		asked |= senderAsks(f)
	}
	return Explanation{Row: row.what, Asked: asked, Verdict: decision.Verdict{Effect: decision.Pass}}
}

// rowOf returns the first row that matches a request to an address of class to.
func rowOf(f *decision.Facts, to class) *requestRow {
	for i := range requestRows {
		if row := &requestRows[i]; row.matches(f, to) {
			return row
		}
	}
	return nil
}

func (r *requestRow) asksOf(f *decision.Facts) permission.Set {
	return r.asks.of(f.Type) | r.more.asks(f)
}

// senderAsks returns the additional permissions for a request to another user's
// address or to another tenant's domain. A server may ignore the address and
// apply the request to the account that sends it: ejabberd does so with most
// settings of an account, and Prosody with bookmarks. A domain of another
// tenant may be on the same server. An administrator of that server can manage
// the accounts of every domain by a request to any of its domains.
func senderAsks(f *decision.Facts) permission.Set {
	if !f.PeerLocal {
		if row := rowOf(f, localServer); row != nil && row.to&ownAccount != 0 && f.PeerServed {
			return row.asksOf(f)
		}
		return 0
	}
	if ownSpaces()&(1<<f.Payload.Space) == 0 {
		if f.Type == stanza.Set && !f.PeerResource && f.PeerServed {
			return account.write // the server itself answers a request to a bare JID
		}
		return 0
	}
	if f.Type == stanza.Get && readsOther(f) {
		return 0
	}
	if row := rowOf(f, ownAccount); row != nil {
		return row.asksOf(f)
	}
	return account.of(f.Type)
}

// ownSpaces are the namespaces named by the rows for the own account.
func ownSpaces() (named spaces) {
	for i := range requestRows {
		if r := &requestRows[i]; r.to&ownAccount != 0 && r.space != everySpace {
			named |= r.space
		}
	}
	return named
}

// readsOther reports whether a get is meant to read data of another user.
func readsOther(f *decision.Facts) bool {
	switch f.Payload.Space {
	case stanza.VCardTemp, stanza.VCard4, stanza.DiscoInfo, stanza.DiscoItems:
		return true
	case stanza.PubSub, stanza.PubSubOwner:
		return namesNodes(f)
	}
	return false
}

// outEffect determines the effect from the missing permissions.
func (j *judge) outEffect(e Explanation) Explanation {
	f := j.facts
	missing := e.Missing
	if e.Verdict.Effect == decision.Drop || missing == 0 {
		return e
	}
	clamp := f.Kind == stanza.Presence && missing.Has(permission.MessagesRead) &&
		j.settings.PresenceWithoutMessages == events.PresenceClamp
	if clamp {
		missing = missing.Minus(messages.read)
		if missing == 0 {
			e.Verdict.Effect = decision.Clamp
			e.Verdict.Permission = permission.MessagesRead.Name()
			return e
		}
	}
	first, _ := missing.First()
	e.Verdict.Permission = first.Name()
	if f.Type == stanza.Error || f.Type == stanza.Result ||
		f.Kind == stanza.Message && f.Marks&(stanza.HasContent|stanza.IsInvite) == 0 {
		e.Verdict.Effect, e.Verdict.Reason = decision.Drop, decision.NoPermission
		return e
	}
	e.Verdict.Effect, e.Verdict.Reason = decision.Refuse, outReason(f.Kind, first)
	return e
}

func outReason(kind stanza.Kind, missing permission.Permission) decision.Reason {
	switch {
	case missing == permission.Federate:
		return decision.NoFederation
	case kind == stanza.Message:
		return decision.NoMessage
	case kind == stanza.Presence && missing == permission.PresenceWrite:
		return decision.NoPresence
	case kind == stanza.Presence && missing == permission.MessagesRead:
		return decision.NoPriority
	}
	return decision.NoRequest
}

// outFault decides about a stanza that cannot be judged by its contents.
func outFault(f *decision.Facts) (Explanation, bool) {
	var e Explanation
	switch f.Fault {
	case stanza.NoFault:
		return e, false
	case stanza.BadFrom, stanza.ForgedFrom:
		return end(&rowForgedFrom, decision.InvalidFrom), true
	case stanza.Unsupported:
		return end(&rowNoStanza, decision.UnsupportedStanzaType), true
	case stanza.BadTo, stanza.BadEmbedded:
		e = refuse(&rowBadAddress, decision.JIDMalformed)
	case stanza.BadIQ:
		e = refuse(&rowBadIQ, decision.BadRequest)
	case stanza.BadPresenceType:
		e = refuse(&rowPresenceUnknown, decision.BadRequest)
	default:
		e = refuse(&rowTooMuch, decision.NotAcceptable)
	}
	if f.Type == stanza.Result || f.Type == stanza.Error {
		e.Verdict.Effect = decision.Drop // RFC 6120 section 8.3.1: never answer an error
	}
	return e, true
}
