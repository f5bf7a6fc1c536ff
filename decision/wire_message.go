package decision

import (
	"encoding/binary"
	"errors"
	"math"
)

// MaxBatch bounds the requests of one message. At this size, a request already
// costs several times less than alone. In a larger batch, the first request would
// only wait longer for the last.
const MaxBatch = 256

// A Mark is a position in one log.
type Mark struct {
	LogID    string
	Position uint64
}

// A BatchHead begins a message from a gateway to a node.
type BatchHead struct {
	Gateway string // the gateway's id, for the audit log; see IsToken
	ID      uint64
	// AtLeast: a node of this log must not answer while its state is older. The
	// zero Mark sets no condition.
	AtLeast Mark
	// Wire is the version of the message, and of its reply.
	Wire Wire
	// Challenge is the gateway's challenge of the instant at which it sends the
	// batch. In Wire1 there is none.
	Challenge uint64
}

// A Batch is a whole message from a gateway to a node. A Batch without requests
// asks only whether the node would answer.
type Batch struct {
	BatchHead
	Requests []Request
}

// ErrVersion is the error of DecodeBatch for a batch of a newer version. Its
// Gateway and ID are decoded. Another node may be able to read it.
var ErrVersion = errors.New("a batch of a version that this program does not read")

// AppendBatch appends the head of a batch. The caller then appends count requests
// (AppendQuestion, AppendAdmit, AppendOpen).
func AppendBatch(dst []byte, h *BatchHead, count int) []byte {
	t := tagBatch
	if h.Wire >= Wire2 {
		t = tagBatch2
	}
	dst = appendText(append(dst, byte(t)), h.Gateway)
	dst = binary.AppendUvarint(dst, h.ID)
	dst = appendMark(dst, h.AtLeast)
	if h.Wire >= Wire2 {
		dst = binary.AppendUvarint(dst, h.Challenge)
	}
	return binary.AppendUvarint(dst, uint64(count))
}

// DecodeBatch decodes a message that is exactly one batch of any version. It reuses
// b's slices. The requests are views of msg.
//
// In every version, a batch begins with its tag, the gateway and the ID. If the tag
// belongs to no message of this version, DecodeBatch therefore decodes only the two
// and returns ErrVersion.
func DecodeBatch(msg []byte, b *Batch) error {
	r := reader{b: msg}
	b.Wire, b.Challenge = Wire1, NoChallenge
	switch t := tag(r.byte("batch")); {
	case t == tagBatch:
	case t == tagBatch2:
		b.Wire = Wire2
	case t > lastMessage:
		return b.newer(&r)
	default:
		r.fail("batch")
	}
	b.Gateway = keep(b.Gateway, r.token("gateway"))
	b.ID = r.number("batch id")
	r.mark(&b.AtLeast)
	if b.Wire >= Wire2 {
		b.Challenge = r.challenge("challenge")
	}
	n := r.count(MaxBatch, "requests")
	b.Requests = resize(b.Requests, n)
	for i := range b.Requests {
		var err error
		if r.b, err = DecodeRequest(r.b, &b.Requests[i]); err != nil {
			return err
		}
	}
	return r.end()
}

// newer decodes the begin of a batch of a newer version.
func (b *Batch) newer(r *reader) error {
	b.Gateway = keep(b.Gateway, r.token("gateway"))
	b.ID = r.number("batch id")
	b.Wire, b.Requests = NewestWire, b.Requests[:0]
	if err := r.err(); err != nil {
		return err
	}
	return ErrVersion
}

// A Status says whether a node answered a Batch, and if not, why.
type Status uint8

// The statuses. Only a Reply with StatusOK has results.
const (
	StatusOK Status = iota
	// StatusBehind: the node's state is older than AtLeast.
	StatusBehind
	// StatusNotFresh: the node may not decide now, because it has not caught up
	// with the log, may be disconnected, or cannot write its audit log.
	StatusNotFresh
	// StatusBad: the node could not decode the batch, or failed to decide it.
	// Another node would fail too.
	StatusBad
	// StatusVersion: the node cannot read the version of the batch. Another node
	// may be able to. Only since Wire2.
	StatusVersion
	// StatusBusy: the batch has waited too long in the node's queue. The gateway
	// sends this node fewer batches. Only since Wire2.
	StatusBusy
	numStatuses
)

// statuses returns how many statuses the version has.
func (w Wire) statuses() Status {
	if w < Wire2 {
		return StatusVersion
	}
	return numStatuses
}

// A ReplyHead begins a node's answer to a Batch.
type ReplyHead struct {
	ID     uint64 // the ID of the Batch
	Status Status
	Node   string // the node's id; see IsToken
	At     Mark   // the node's state when it began to decide
	// Wire is the version of the batch, and therefore of the reply.
	Wire Wire
	// Proven is the newest proven challenge of the gateway: every commit that was
	// acknowledged before the gateway made this challenge is part of At. It is set
	// only with StatusOK, and only since Wire2. A stand-alone node is the log, so it
	// returns the challenge of the batch.
	Proven uint64
}

// A Reply is a node's whole answer to a Batch. It has one result for each
// request, in the same order.
type Reply struct {
	ReplyHead
	Results []Result
}

// AppendReply appends a reply, which is a whole message. A status that the reply's
// version does not have is replaced by StatusNotFresh.
func AppendReply(dst []byte, r *Reply) []byte {
	t, status := tagReply, r.Status
	if r.Wire >= Wire2 {
		t = tagReply2
	}
	if status < numStatuses && status >= r.Wire.statuses() {
		status = StatusNotFresh
	}
	dst = append(dst, byte(t), byte(status))
	dst = binary.AppendUvarint(dst, r.ID)
	dst = appendText(dst, r.Node)
	dst = appendMark(dst, r.At)
	if r.Status != StatusOK {
		return dst
	}
	if r.Wire >= Wire2 {
		dst = binary.AppendUvarint(dst, r.Proven)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Results)))
	for i := range r.Results {
		dst = appendResult(dst, &r.Results[i])
	}
	return dst
}

// DecodeReply decodes a message that is exactly one reply of any version. It
// reuses reply's slices and copies the reply's log id into each result.
func DecodeReply(msg []byte, reply *Reply) error {
	r := reader{b: msg}
	switch tag(r.byte("reply")) {
	case tagReply:
		reply.Wire = Wire1
	case tagReply2:
		reply.Wire = Wire2
	default:
		r.fail("reply")
	}
	reply.Status = Status(r.byte("status"))
	if reply.Status >= reply.Wire.statuses() {
		r.fail("status")
	}
	reply.ID = r.number("batch id")
	reply.Node = keep(reply.Node, r.token("node"))
	r.mark(&reply.At)
	n := 0
	reply.Proven = NoChallenge
	if reply.Status == StatusOK {
		if reply.Wire >= Wire2 {
			reply.Proven = r.challenge("proven")
		}
		n = r.count(MaxBatch, "results")
	}
	reply.Results = resize(reply.Results, n)
	for i := range reply.Results {
		res := &reply.Results[i]
		var err error
		if r.b, err = decodeResult(r.b, res); err != nil {
			return err
		}
		res.Verdict.LogID = reply.At.LogID
		res.Admission.LogID = reply.At.LogID
		res.Opening.LogID = reply.At.LogID
	}
	return r.end()
}

// A State is the state of a node.
type State struct {
	At    Mark
	Ready bool // the node may decide
}

// An Announcement is the message that each node publishes once a second. It has
// two encodings. Gateways and nodes of Wire1 read only the one without Wire and
// Level, so a node publishes both, each on its own subject.
type Announcement struct {
	Node string // the node's id; see IsToken
	// Boot is a random number, chosen at each start. If it changes, the node has
	// lost all requests sent to it before.
	Boot  uint64
	Load  uint16 // thousandths of the workers' time spent busy, 0 to 1000
	Ready bool   // the node would answer now and is not about to stop
	At    Mark
	// Wire is the newest version that the node reads. In the encoding of Wire1 it is
	// absent, and decoded as Wire1.
	Wire Wire
	// Level is the highest number of an event that the node reads. In the encoding
	// of Wire1 it is absent, and decoded as zero.
	Level uint64
}

// AppendAnnouncement appends an announcement without Wire and Level, which is a
// whole message. Nodes of every version send it.
func AppendAnnouncement(dst []byte, a *Announcement) []byte {
	return a.append(append(dst, byte(tagAnnouncement)))
}

// AppendExtended appends an announcement with Wire and Level, which is a whole
// message. Nodes since Wire2 send it.
func AppendExtended(dst []byte, a *Announcement) []byte {
	dst = a.append(append(dst, byte(tagNodeState)))
	dst = binary.AppendUvarint(dst, uint64(a.Wire))
	return binary.AppendUvarint(dst, a.Level)
}

func (a *Announcement) append(dst []byte) []byte {
	dst = appendText(dst, a.Node)
	dst = binary.AppendUvarint(dst, a.Boot)
	dst = binary.AppendUvarint(dst, uint64(a.Load))
	dst = append(dst, boolByte(a.Ready))
	return appendMark(dst, a.At)
}

// MaxLoad is the greatest Load of an Announcement.
const MaxLoad = 1000

// DecodeAnnouncement decodes a message that is exactly one announcement of
// AppendAnnouncement.
func DecodeAnnouncement(msg []byte, a *Announcement) error {
	r := reader{b: msg}
	r.tag(tagAnnouncement, "announcement")
	r.announcement(a)
	a.Wire, a.Level = Wire1, 0
	return r.end()
}

// DecodeExtended decodes a message that is exactly one announcement of
// AppendExtended.
func DecodeExtended(msg []byte, a *Announcement) error {
	r := reader{b: msg}
	r.tag(tagNodeState, "announcement")
	r.announcement(a)
	wire := r.number("wire")
	if wire < uint64(Wire2) || wire > math.MaxUint8 {
		r.fail("wire")
	}
	a.Wire = Wire(wire)
	a.Level = r.number("level")
	return r.end()
}

func (r *reader) announcement(a *Announcement) {
	a.Node = keep(a.Node, r.token("node"))
	a.Boot = r.number("boot")
	load := r.number("load")
	if load > MaxLoad {
		r.fail("load")
	}
	a.Load = uint16(load)
	a.Ready = r.bool("ready")
	r.mark(&a.At)
}

// AppendChallenge appends the message with a gateway's newest challenge, which is a
// whole message. A gateway publishes it each second.
func AppendChallenge(dst []byte, challenge uint64) []byte {
	return binary.AppendUvarint(append(dst, byte(tagChallenge)), challenge)
}

// DecodeChallenge decodes a message that is exactly one challenge.
func DecodeChallenge(msg []byte) (challenge uint64, err error) {
	r := reader{b: msg}
	r.tag(tagChallenge, "challenge message")
	challenge = r.challenge("challenge")
	return challenge, r.end()
}

// challenge reads a number that is not NoChallenge.
func (r *reader) challenge(field string) uint64 {
	n := r.number(field)
	if n == NoChallenge {
		r.fail(field)
	}
	return n
}

func appendMark(dst []byte, m Mark) []byte {
	return binary.AppendUvarint(appendText(dst, m.LogID), m.Position)
}

func (r *reader) mark(m *Mark) {
	m.LogID = keep(m.LogID, r.text(maxLogID, "log id"))
	m.Position = r.number("position")
}

// resize returns s with n elements. The elements keep their contents, so that
// decoding can reuse the slices in them.
func resize[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	grown := make([]T, n)
	copy(grown, s[:cap(s)])
	return grown
}
