// Package decision defines the questions that a gateway asks a policy node,
// the answers to them, and their versioned wire encoding. A gateway asks about
// a stanza (Ask), a domain (Admit) and a session (Open).
//
// A Question never carries a message body. A Verdict carries only the action of
// the gateway and its answer to the sender, never the rules behind them,
// because the process that faces the Internet holds no rules. The package is
// pure.
package decision

import (
	"errors"
	"strings"

	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A Direction says in which direction a stanza travels.
type Direction uint8

// The directions.
const (
	Out Direction = iota // client to server
	In                   // server to client
)

// A Session is the client session that a stanza belongs to. Its byte slices are
// views.
type Session struct {
	ID       []byte // the gateway's id of the session, for the audit log
	Tenant   []byte
	Account  []byte // prepared bare JID
	Resource []byte
	Grant    []byte // the restricted credential; empty for an ordinary password
	// Opened is the log position at which the session's domain was admitted. A
	// later revocation of its tenant, domain, member or grant ends the session.
	Opened uint64
	// OpenedLog is the id of the log that Opened belongs to. A node with another
	// log cannot interpret Opened and therefore ends the session. OpenedLog is
	// empty before the session is opened.
	OpenedLog []byte
}

// A Question asks about one stanza of one session.
type Question struct {
	ID        uint64 // chosen by the gateway; a hedged copy has the same ID
	Session   Session
	Direction Direction
	// Joined: this session has sent directed presence to the bare JID of the
	// stanza's from, and has not left it. MUC: this directed presence asked to
	// join a room (XEP-0045 section 7.2).
	Joined, MUC bool
	// Queried: the stanza is an archive result (XEP-0313), and its from is the
	// exact bare JID of an archive query that this session has sent and that is
	// not complete yet.
	Queried bool
	// Outstanding: the stanza is an iq result or error, and answers a get or set
	// that was forwarded in the other direction (same peer and id).
	Outstanding bool
	Desc        stanza.Descriptor
}

// Memory is the part of a session's history that rules depend on. An
// implementation must bound its size.
type Memory interface {
	// Joined reports whether the session has sent directed presence to the
	// bare JID of peer and has not left it, and whether this presence asked to
	// join a room. After the session has sent unavailable presence to a room, the
	// room's unavailable answer still counts as joined.
	Joined(peer jid.Addr, t stanza.Type) (joined, muc bool)
	// Outstanding reports whether a result or error in direction d answers a get
	// or set that went in the opposite direction. The iq has the given id, and
	// peer is the other entity. Each request is answered once, so Outstanding
	// reports true for one answer only.
	Outstanding(d Direction, peer jid.Addr, id []byte) bool
	// Queried reports whether an archive query of the session to peer is not
	// complete yet.
	Queried(peer jid.Addr) bool
}

// NewQuestion returns the question about a described stanza. It copies desc, but
// not the bytes that desc refers to. If the encoded question would be longer than
// MaxQuestion, the stanza is marked as undescribable. An incoming stanza is
// delivered to this session only, so its embedded addresses do not matter: an
// invalid embedded address is then not a fault.
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

// An Effect says how the gateway treats a stanza.
type Effect uint8

// The effects. The zero value is not a verdict, so a stanza that was never
// decided never passes.
const (
	Undecided Effect = iota
	Pass             // forward it unchanged
	Clamp            // forward the presence with priority -1
	Strip            // forward it without any payload except its <error/>
	Refuse           // do not forward it; answer its sender
	Drop             // do not forward it; send no error
	End              // end the session
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

// ErrUndecidable is returned when a policy node answers that it cannot read or
// cannot decide a request. Asking again would give the same answer. The gateway
// therefore refuses only the stanza, domain or session of this request.
var ErrUndecidable = errors.New("the policy node cannot decide this")

// A Verdict is the answer to a Question.
type Verdict struct {
	Effect Effect
	// Reason says why the stanza did not simply pass. It determines the Answer,
	// if there is one.
	Reason Reason
	// Permission is the first missing permission, or empty.
	Permission string
	// LogID and Position name the state of the log that the verdict is based on.
	LogID    string
	Position uint64
	// Freshness says until when the verdict may be acted on.
	Freshness
}

// Answer returns the error for the sender of a refused stanza, or the stream
// error of an ended session. Its text names the missing permission.
func (v *Verdict) Answer() Answer {
	a := v.Reason.Answer()
	a.Text = strings.ReplaceAll(a.Text, "%s", v.Permission)
	return a
}

// Text explains to operators why the stanza did not simply pass. The Answer to
// the sender may say less.
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
