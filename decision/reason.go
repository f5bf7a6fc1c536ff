package decision

// A Reason says why a stanza did not simply pass. The numbers are part of the
// wire format: append new reasons, and never reorder them.
type Reason uint8

// The reasons.
const (
	NoReason Reason = iota

	// A permission is missing for an outgoing stanza.
	NoRequest  // for an iq or a subscription
	NoPresence // presence:write is missing
	NoPriority // messages:read is missing, and the presence has no negative priority
	NoMessage  // messages:write is missing
	NoFederation
	NoPermission // dropped without an answer; used in both directions

	// Unavailable: a permission is missing for an incoming request. Its sender
	// learns only that the service is unavailable.
	Unavailable
	// PushRefused: a permission is missing for a push of the tenant's own server.
	// The push is dropped, and the server receives a result, so that it does not
	// try again.
	PushRefused

	// The stanza itself is at fault.
	JIDMalformed
	BadRequest
	NotAcceptable
	UnavailableUndescribable // an incoming get or set
	Forgery                  // an incoming stanza
	NotOutstanding           // a result or error without a request
	_                        // no longer used; the number must not be reused

	// The session ends, because of the stanza or because the session is revoked.
	InvalidFrom
	UnsupportedStanzaType
	RolesChanged

	// Outage: no policy node answered in time. The gateway itself sets it.
	Outage
	numReasons
)

// An Answer is the stanza error for the sender of a refused stanza, or the stream
// error that ends a session.
type Answer struct {
	Type      string // RFC 6120 section 8.3.2; empty for a stream error
	Condition string // RFC 6120 sections 8.3.3 and 4.9.3
	Text      string // %s stands for the permission's name
	// Denied: a permission was missing and the sender may know which. The answer
	// therefore also carries the application condition
	// <denied xmlns='urn:postern:denied:0'/>.
	Denied bool
}

var answers = [numReasons]Answer{
	NoRequest:                {"auth", "forbidden", "You do not have permission to make this request (%s)", true},
	NoPresence:               {"auth", "forbidden", "You do not have permission to send account presence", true},
	NoPriority:               {"auth", "forbidden", "You do not have permission to receive messages (use presence priority -1)", true},
	NoMessage:                {"auth", "forbidden", "You do not have permission to send messages (%s)", true},
	NoFederation:             {"auth", "forbidden", "You do not have permission to communicate with other domains (%s)", true},
	NoPermission:             {Text: "dropped: %s is missing"},
	Unavailable:              {Type: "cancel", Condition: "service-unavailable"},
	PushRefused:              {Text: "dropped: %s is missing; the server is answered with a result"},
	JIDMalformed:             {Type: "modify", Condition: "jid-malformed", Text: "An address in this stanza is not valid, or not the same to every server"},
	BadRequest:               {Type: "modify", Condition: "bad-request", Text: "The stanza is not what RFC 6120 and RFC 6121 ask for"},
	NotAcceptable:            {Type: "modify", Condition: "not-acceptable", Text: "The stanza has more parts than can be checked"},
	UnavailableUndescribable: {Type: "cancel", Condition: "service-unavailable", Text: "The request cannot be delivered"},
	Forgery:                  {Text: "dropped: a forgery, its sender may not send this"},
	NotOutstanding:           {Text: "dropped: it answers no request of this session"},
	InvalidFrom:              {Condition: "invalid-from", Text: "The from address is not this session's"},
	UnsupportedStanzaType:    {Condition: "unsupported-stanza-type", Text: "Only message, presence and iq are stanzas"},
	RolesChanged:             {Condition: "reset", Text: "Roles changed"},
	Outage:                   {Type: "wait", Condition: "internal-server-error", Text: "Access control is temporarily unavailable"},
}

// Answer returns the answer for the reason, with %s still in its text.
func (r Reason) Answer() Answer {
	if r >= numReasons {
		return Answer{}
	}
	return answers[r]
}
