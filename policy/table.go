package policy

import (
	"strings"

	"github.com/postern-im/postern/permission"
)

// A row is one line of the table. The lines for iq get and set from the client
// are requestRows instead.
type row struct {
	what    string
	to      string // the receiver; for stanzas from the server, the sender
	asks    permission.Set
	more    string // describes the permissions beyond asks
	refused string // the effect if permissions are missing; if empty, the stanza is refused
}

// Rows for stanzas from the client.
var (
	rowClientState      = row{what: "urn:xmpp:csi:0 active, inactive", to: "server"}
	rowMessage          = row{what: "message, any type", to: "anyone", asks: messages.write, refused: "without body, subject or encryption payload, or an error: dropped"}
	rowPresence         = row{what: "presence available, unavailable", to: "anyone", asks: presenceWrite}
	rowPresencePriority = row{what: "presence available, priority not negative", to: "own account", asks: presenceWrite | messages.read, refused: "without messages:read only: forwarded with priority -1, or refused, by tenant setting"}
	rowSubscription     = row{what: "presence subscribe, subscribed, unsubscribe, unsubscribed", to: "anyone", asks: contacts.write}
	rowProbe            = row{what: "presence probe", to: "anyone", asks: contacts.read}
	rowPresenceError    = row{what: "presence error (everything but its error is stripped)", to: "anyone", asks: presenceWrite, refused: "dropped"}
	rowPresenceUnknown  = row{what: "presence of any other type", to: "anyone", refused: "always refused, bad-request"}
	rowOwnResult        = row{what: "iq result, error", to: "own account, resource, server"}
	rowResult           = row{what: "iq result, error that answers a get or set this session was shown", to: "others"}
	rowSender           = row{what: "iq get, set: a namespace that a row for the own account names", to: "any other address with a localpart, except in local services", more: "in addition to its own row: what the same request to the own account asks for; except a get of vcard-temp, vcard-4.0, disco, or of pubsub nodes if all are named and none is the bookmarks node"}
	rowManaged          = row{what: "iq get, set: jabber:iq:register, jabber:iq:auth, commands, urn:xmpp:cam:0, manage-clients", to: "domains of other tenants of the installation", more: "in addition to its own row: what the same request to the own account asks for"}
	rowSenderSet        = row{what: "iq set: any other namespace", to: "another user's bare JID in a domain of the installation", asks: account.write, more: "in addition to its own row"}
	rowInside           = row{what: "iq set with a jid attribute that is remote (outside the contents of pubsub items)", to: "local services", asks: federate, more: "in addition to its own row"}
	rowResultUnasked    = row{what: "iq result, error that answers no request", to: "others", refused: "always dropped"}
)

// Rows for stanzas from the server.
var (
	rowInMessage       = row{what: "message of any other kind", to: "anyone", asks: messages.read, refused: "dropped; chat or normal to the full JID, without muc#user and not from a local service's bare JID: answered service-unavailable"}
	rowCarbon          = row{what: "carbon (received, sent)", to: "own account", asks: messages.read, refused: "dropped"}
	rowForgedCarbon    = row{what: "carbon", to: "anyone else", refused: "always dropped, a forgery"}
	rowArchive         = row{what: "archive result (result, fin)", to: "own account", asks: archive.read, refused: "dropped"}
	rowRoomArchive     = row{what: "archive result (result, fin)", to: "a bare JID that has not finished its answer to an archive query of this session", asks: messages.read, refused: "dropped"}
	rowForgedArchive   = row{what: "archive result (result, fin)", to: "anyone else", refused: "always dropped, a forgery"}
	rowOwnEvent        = row{what: "pubsub event", to: "own account", more: "the read permission of every node it names", refused: "dropped"}
	rowContactEvent    = row{what: "pubsub event, headline, with no other contents", to: "a bare JID that is not in a service", asks: contacts.read, refused: "dropped"}
	rowEvent           = row{what: "any other pubsub event", to: "anyone", asks: messages.read, refused: "dropped"}
	rowMore            = row{what: "carbon, archive result or event with other contents", to: "anyone", asks: messages.read, more: "in addition to its own row", refused: "dropped"}
	rowMessageError    = row{what: "message error", to: "anyone", asks: messages.write, more: "without messages:read everything but its error is stripped", refused: "dropped"}
	rowInPresence      = row{what: "presence of contacts, subscription requests", to: "anyone", asks: contacts.read, refused: "dropped"}
	rowRoomPresence    = row{what: "presence available, unavailable, with muc#user", to: "a local service this session has sent directed presence to, or a remote room it has asked to join, and has not left"}
	rowOwnPresence     = row{what: "presence", to: "own resources"}
	rowInPresenceError = row{what: "presence error", to: "anyone", more: "without messages:read everything but its error is stripped"}
	rowRosterPush      = row{what: "roster push", to: "own account", asks: contacts.read, refused: "dropped; the server gets an empty result"}
	rowBlockPush       = row{what: "block list push", to: "own account", asks: blocklist.read, refused: "dropped; the server gets an empty result"}
	rowPrivacyPush     = row{what: "privacy list push", to: "own account", asks: blocklist.read, refused: "dropped; the server gets an empty result"}
	rowForgedPush      = row{what: "roster push, block list push", to: "anyone else", refused: "always dropped, a forgery"}
	rowInHarmless      = row{what: "iq get of ping, version, time, disco#info, with no child and no attribute but the node of a caps form", to: "anyone"}
	rowInRequest       = row{what: "any other iq get, set", to: "anyone", asks: messages.read, refused: "answered service-unavailable"}
	rowInOwnResult     = row{what: "iq result, error", to: "own account, resource, server"}
	rowInResult        = row{what: "iq result, error that answers this session's get or set", to: "others"}
	rowInResultUnasked = row{what: "iq result, error that answers no request", to: "others", refused: "always dropped"}
	rowInRemote        = row{what: "anything", to: "a remote address", asks: federate, more: "in addition to its own row", refused: "iq get, set, chat and normal messages: answered service-unavailable; the rest dropped"}
)

// Rows for stanzas that cannot be judged by their contents.
var (
	rowBadAddress = row{what: "an address that cannot be prepared", refused: "refused, jid-malformed"}
	rowBadIQ      = row{what: "iq without id, of unknown type, or get, set without exactly one child", refused: "refused, bad-request"}
	rowTooMuch    = row{what: "a stanza that cannot be described completely", refused: "refused, not-acceptable"}
	rowForgedFrom = row{what: "a from that is not the session's own address", refused: "the stream ends, invalid-from"}
	rowNoStanza   = row{what: "any other element", refused: "the stream ends, unsupported-stanza-type"}
	rowNobody     = row{what: "no such session", refused: "the session ends"}
	rowRevoked    = row{what: "a session older than a change of roles, a suspension or another revocation", refused: "the session ends"}
)

var outRows = []*row{&rowMessage, &rowPresence, &rowPresencePriority, &rowSubscription, &rowProbe, &rowPresenceError, &rowPresenceUnknown}

var outLastRows = []*row{&rowSender, &rowSenderSet, &rowManaged, &rowInside, &rowOwnResult, &rowResult, &rowResultUnasked, &rowClientState, &rowBadAddress, &rowBadIQ, &rowTooMuch, &rowForgedFrom, &rowNoStanza}

var inRows = []*row{
	&rowInMessage, &rowCarbon, &rowForgedCarbon, &rowArchive, &rowRoomArchive, &rowForgedArchive, &rowOwnEvent, &rowContactEvent, &rowEvent, &rowMore, &rowMessageError,
	&rowInPresence, &rowRoomPresence, &rowOwnPresence, &rowInPresenceError, &rowRosterPush, &rowBlockPush, &rowPrivacyPush, &rowForgedPush,
	&rowInHarmless, &rowInRequest, &rowInOwnResult, &rowInResult, &rowInResultUnasked, &rowInRemote,
}

// A Line is one line of the printed table.
type Line struct {
	// Stanza describes the stanza. Address is its receiver or, for a stanza
	// from the server, its sender.
	Stanza, Address string
	// Asks names the permissions that the stanza asks for. Refused is the
	// effect if permissions are missing; if empty, the stanza is refused.
	Asks, Refused string
}

// Table returns both tables as they are enforced: out for stanzas from a
// client, in for stanzas from a server.
func Table() (out, in []Line) {
	for _, r := range outRows {
		out = append(out, r.line())
	}
	for i := range requestRows {
		out = append(out, requestRows[i].line())
	}
	for _, r := range outLastRows {
		out = append(out, r.line())
	}
	for _, r := range inRows {
		in = append(in, r.line())
	}
	return out, in
}

func (r *row) line() Line {
	return Line{Stanza: r.what, Address: r.to, Asks: words(r.asks, r.more), Refused: r.refused}
}

func (r *requestRow) line() Line {
	asks := words(r.asks.read, r.note)
	if r.asks.write != r.asks.read {
		asks = words(0, "get: "+words(r.asks.read, "")+"; set: "+words(r.asks.write, r.note))
	}
	return Line{Stanza: "iq get, set: " + r.what, Address: classNames(r.to), Asks: asks}
}

func words(asks permission.Set, more string) string {
	list := asks.Names()
	if more != "" {
		list = append(list, more)
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

var classWords = []struct {
	class class
	words string
}{
	{anywhere, "anyone"},
	{own, "own account, resource or server"},
	{ownAccount, "own account"},
	{ownResource, "own resource"},
	{ownServer, "own server"},
	{localServer, "other domains of the tenant"},
	{local, "local"},
	{localService, "local services"},
	{remote, "remote"},
}

// classNames describes a set of classes.
func classNames(c class) string {
	var list []string
	for _, w := range classWords {
		if c&w.class == w.class {
			list = append(list, w.words)
			c &^= w.class
		}
	}
	return strings.Join(list, ", ")
}
