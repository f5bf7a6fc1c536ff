package audit

import "time"

// A Body has the fields of one kind of record, except verdicts. Each type lists its
// fields once, for writing and for reading.
type Body interface {
	kind() Kind
	fields(c *coder)
}

// newBody returns an empty body for a kind, or nil for a kind without one.
func newBody(k Kind) Body {
	switch k {
	case AdmissionKind:
		return new(Admission)
	case OpeningKind:
		return new(Opening)
	case ClosingKind:
		return new(Closing)
	case LoginKind:
		return new(Login)
	case OutageKind:
		return new(Outage)
	case CallKind:
		return new(Call)
	case MarkKind:
		return new(Mark)
	}
	return nil
}

// An Admission says that a gateway asked about a domain that is served. Domains that
// are not served have no record, because any client can ask for them.
type Admission struct {
	Gateway string
	Domain  string // prepared
	Known   bool
}

func (*Admission) kind() Kind { return AdmissionKind }
func (a *Admission) fields(c *coder) {
	c.text(&a.Gateway)
	c.text(&a.Domain)
	c.flag(&a.Known)
}

// An Opening says whether a session may begin. The record's Session names it.
type Opening struct {
	// FullJID is the address of the session. Address is the client's network address.
	FullJID, Address string
	// TLS is the version of TLS, for example "1.3". Mechanism is the SASL mechanism.
	TLS, Mechanism string
	Allowed        bool
}

func (*Opening) kind() Kind { return OpeningKind }
func (o *Opening) fields(c *coder) {
	c.name(JIDName, &o.FullJID)
	c.name(NetworkName, &o.Address)
	c.text(&o.TLS)
	c.text(&o.Mechanism)
	c.flag(&o.Allowed)
}

// A Closing says that a session has ended. Only its gateway knows that. The record's
// Session names it.
type Closing struct {
	Reason string
	// Passed and Stopped count the stanzas of both directions that were handed over,
	// and those that were not.
	Passed, Stopped uint64
	Lasted          time.Duration // in whole milliseconds
}

func (*Closing) kind() Kind { return ClosingKind }
func (o *Closing) fields(c *coder) {
	c.text(&o.Reason)
	c.number(&o.Passed)
	c.number(&o.Stopped)
	c.millis(&o.Lasted)
}

// A Login says that logins were refused. Only a gateway knows that. It joins refusals
// that are alike.
type Login struct {
	Gateway          string
	Domain           string
	Account, Address string
	Mechanism        string
	Reason           string
	Count            uint64
}

func (*Login) kind() Kind { return LoginKind }
func (l *Login) fields(c *coder) {
	c.text(&l.Gateway)
	c.text(&l.Domain)
	c.name(JIDName, &l.Account)
	c.name(NetworkName, &l.Address)
	c.text(&l.Mechanism)
	c.text(&l.Reason)
	c.number(&l.Count)
}

// An Outage says that a gateway had no answer of a node in time, and refused stanzas
// by itself. Unreported counts the reports of the gateway that did not fit into its
// queue meanwhile.
type Outage struct {
	Gateway             string
	Lasted              time.Duration
	Refused, Unreported uint64
}

func (*Outage) kind() Kind { return OutageKind }
func (o *Outage) fields(c *coder) {
	c.text(&o.Gateway)
	c.millis(&o.Lasted)
	c.number(&o.Refused)
	c.number(&o.Unreported)
}

// The phases of a Call. A call that changes something has two records with the same
// ID: its intent, written before the change begins, and its result.
const (
	IntentPhase = "intent"
	ResultPhase = "result"
	CallPhase   = "call"
)

// A Call is one call of the admin API.
type Call struct {
	ID, Phase                         string
	Actor, Source, Path, Reason       string // names: each may name a person
	Scope, Method, Operation, Command string
	CommandID, Session, Enforced      string
	Status                            uint64
	Code                              string
	Position                          uint64 // of the command's result, or asked about
	Lasted                            time.Duration
}

func (*Call) kind() Kind { return CallKind }
func (l *Call) fields(c *coder) {
	c.text(&l.ID)
	c.text(&l.Phase)
	c.name(ActorName, &l.Actor)
	c.name(NetworkName, &l.Source)
	c.name(TextName, &l.Path)
	c.name(TextName, &l.Reason)
	c.text(&l.Scope)
	c.text(&l.Method)
	c.text(&l.Operation)
	c.text(&l.Command)
	c.text(&l.CommandID)
	c.text(&l.Session)
	c.text(&l.Enforced)
	c.number(&l.Status)
	c.text(&l.Code)
	c.number(&l.Position)
	c.millis(&l.Lasted)
}

// The kinds of a Mark.
const (
	StartMark  = "start"  // the node started: version, hash of its configuration
	ClockMark  = "clock"  // the node's clock went back: from, to
	GapMark    = "gap"    // records are missing: from, to, cause
	PrunedMark = "pruned" // entries up to a leaf were removed: leaf, by
	ErasedMark = "erased" // names were erased: numbers, by
	HeadMark   = "head"   // the head of the event log: id, position, hash
)

// A Mark is a note about the log itself.
type Mark struct {
	Mark string
	// By is the actor, if there was one. Reason is the actor's reason.
	By, Reason string
	// Values are the facts of the mark, in the order that its kind names.
	Values []string
}

func (*Mark) kind() Kind { return MarkKind }
func (m *Mark) fields(c *coder) {
	c.text(&m.Mark)
	c.name(ActorName, &m.By)
	c.name(TextName, &m.Reason)
	c.texts(&m.Values)
}
