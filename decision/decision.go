// Package decision is the question a gateway asks about a stanza and the
// answer it gets, and the same for a domain (Admit) and a session (Open),
// with their versioned wire encoding.
//
// A Question never carries a body. A Verdict carries what the gateway does and
// says, not why the rules say so: the process that faces the Internet holds no
// rules. The package is pure.
package decision

import (
	"errors"
	"strings"
	"time"

	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A Direction is which way a stanza goes.
type Direction uint8

// The directions.
const (
	Out Direction = iota // client to server
	In                   // server to client
)

// A Session is who a stanza is judged for. Its bytes are views.
type Session struct {
	ID       []byte // the gateway's id of the session, for the audit log
	Tenant   []byte
	Account  []byte // prepared bare JID
	Resource []byte
	Grant    []byte // the restricted credential; empty for an ordinary password
	// Opened is the log position at which the session's domain was admitted: a
	// later revocation of its tenant, domain, member or grant ends the session.
	Opened uint64
	// OpenedLog is the id of the log that Opened is a position of. Another log
	// knows nothing of what it meant, and ends the session. Empty when the
	// session is yet to be opened.
	OpenedLog []byte
}

// A Question asks about one stanza of one session.
type Question struct {
	ID        uint64 // the gateway's number; a hedged question keeps it
	Session   Session
	Direction Direction
	// Joined: the stanza's from is a bare JID, or an occupant of one, that
	// this session has sent directed presence to and has not left. MUC: that
	// presence asked to join a room (XEP-0045 section 7.2).
	Joined, MUC bool
	// Queried: an archive result from the very bare JID that this session has
	// sent an archive query to (XEP-0313), which is not at its end yet.
	Queried bool
	// Outstanding: an iq result or error that answers a get or set which the
	// other side was shown (peer and id).
	Outstanding bool
	Desc        stanza.Descriptor
}

// Memory is what a session remembers because rules need it. All of it is
// bounded.
type Memory interface {
	// Joined reports whether the session has sent directed presence to the
	// bare JID of peer and has not left it, and whether that presence asked to
	// join a room. An unavailable that answers the session's own leaving is of
	// a room that is not left yet.
	Joined(peer jid.Addr, t stanza.Type) (joined, muc bool)
	// Outstanding reports whether a result or error going in direction d
	// answers a get or set that went the other way: id is the iq's, peer the
	// other entity. Each request is answered once: what is reported about
	// one stanza holds for no other.
	Outstanding(d Direction, peer jid.Addr, id []byte) bool
	// Queried reports whether an archive query of the session to peer is not
	// at its end.
	Queried(peer jid.Addr) bool
}

// NewQuestion puts the question about a described stanza. desc is copied; its
// bytes are not. What would be longer than MaxQuestion is asked as
// undescribable. What comes in is addressed to nobody else: an embedded
// address that does not prepare is no fault of it.
func NewQuestion(s Session, dir Direction, desc *stanza.Descriptor, m Memory) Question {
	q := Question{Session: s, Direction: dir, Desc: *desc}
	if dir == In {
		q.Desc.Inside = nil
		if q.Desc.Fault == stanza.BadEmbedded {
			q.Desc.Fault = stanza.NoFault
		}
	}
	q.fill(m)
	q.bound()
	return q
}

func (q *Question) fill(m Memory) {
	d := &q.Desc
	peer := d.From
	if q.Direction == Out {
		peer = d.To
		if !d.From.IsZero() && !q.Session.owns(d.From) && d.Fault == stanza.NoFault {
			d.Fault = stanza.ForgedFrom
		}
	}
	if m == nil || peer.IsZero() {
		return
	}
	switch {
	case d.Kind == stanza.IQ && (d.Type == stanza.Result || d.Type == stanza.Error):
		q.Outstanding = m.Outstanding(q.Direction, peer, d.ID)
	case d.Kind == stanza.Presence && q.Direction == In:
		q.Joined, q.MUC = m.Joined(peer, d.Type)
	case d.Has(stanza.IsArchive) && q.Direction == In:
		q.Queried = m.Queried(peer)
	}
}

// owns reports whether a is the session's bare or full JID.
func (s *Session) owns(a jid.Addr) bool {
	if string(a.Bare()) != string(s.Account) {
		return false
	}
	return !a.HasResource() || string(a.Resource()) == string(s.Resource)
}

// An Effect is what becomes of a stanza.
type Effect uint8

// The effects. The zero value is not a verdict: what was never decided is
// never passed.
const (
	Undecided Effect = iota
	Pass             // forwarded unchanged
	Clamp            // presence, forwarded with priority -1
	Strip            // forwarded with nothing but its <error/>
	Refuse           // not forwarded; the one who sent it is answered
	Drop             // not forwarded, silently
	End              // the session ends
	numEffects
)

// String names the effect.
func (e Effect) String() string {
	switch e {
	case Pass:
		return "pass"
	case Clamp:
		return "clamp"
	case Strip:
		return "strip"
	case Refuse:
		return "refuse"
	case Drop:
		return "drop"
	case End:
		return "end"
	}
	return "undecided"
}

// ErrUndecidable: a policy node answers, and says that it cannot read or
// cannot decide what it was asked. Asking again gives nothing else, so what
// was asked about is refused, and nothing beside it.
var ErrUndecidable = errors.New("the policy node cannot decide this")

// A Verdict is the answer to a Question.
type Verdict struct {
	Effect Effect
	// Reason says what is answered where something is (see Reason.Error), and
	// why where nothing is.
	Reason Reason
	// Permission is the first one missing, or empty.
	Permission string
	// LogID and Position tell the state of the log it was made at.
	LogID    string
	Position uint64
	// AskedAt is when the message that brought this verdict was sent, by the
	// gateway's clock: the verdict is not older than that. Set by the Asker,
	// never on the wire.
	AskedAt time.Time
}

// Answer is what a refused stanza is answered with, or an ended stream closed
// with, its text complete.
func (v *Verdict) Answer() Answer {
	a := v.Reason.Answer()
	a.Text = strings.ReplaceAll(a.Text, "%s", v.Permission)
	return a
}

// Text says in words, for operators, why the stanza did not simply pass. The
// one who is answered may be told less (see Answer).
func (v *Verdict) Text() string {
	if v.Effect == Clamp {
		return "forwarded with priority -1: " + v.Permission + " is missing"
	}
	text := v.Answer().Text
	if text == "" && v.Permission != "" {
		return "not delivered: " + v.Permission + " is missing"
	}
	return text
}
