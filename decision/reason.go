package decision

// A Reason is why a stanza did not simply pass. The numbers are part of the
// wire format: append, never reorder.
type Reason uint8

// The reasons.
const (
	NoReason Reason = iota

	// A permission is missing, out.
	NoRequest  // an iq, a subscription
	NoPresence // presence:write
	NoPriority // messages:read, for presence that is not negative
	NoMessage  // messages:write
	NoFederation
	NoPermission // nothing is answered, in or out

	// A permission is missing, in: the sender learns only that the request
	// was not served.
	Unavailable
	// PushRefused: a push of the own server; dropped, and the server is
	// answered with a result so that it need not try again.
	PushRefused

	// The stanza itself.
	JIDMalformed
	BadRequest
	NotAcceptable
	UnavailableUndescribable // in, get or set
	Forgery                  // in
	NotOutstanding           // a result or error nobody asked for
	_                        // not given any more; its number stays unused

	// The session ends.
	InvalidFrom
	UnsupportedStanzaType
	RolesChanged

	// No policy node could answer in time. Made by the gateway itself.
	Outage
	numReasons
)

// An Answer is what a refused stanza is answered with, or a stream ended with.
type Answer struct {
	Type      string // RFC 6120 section 8.3.2; empty for a stream error
	Condition string // RFC 6120 sections 8.3.3 and 4.9.3
	Text      string // %s stands for the permission's name
	// Denied: the answer also carries the application condition
	// <denied xmlns='urn:postern:denied:0'/>, because a permission was missing
	// and the one who is answered may know which.
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

// Answer returns what the reason is answered with.
func (r Reason) Answer() Answer {
	if r >= numReasons {
		return Answer{}
	}
	return answers[r]
}
