package decision

import "encoding/binary"

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
}

// A Batch is a whole message from a gateway to a node. A Batch without requests
// asks only whether the node would answer.
type Batch struct {
	BatchHead
	Requests []Request
}

// AppendBatch appends the head of a batch. The caller then appends count requests
// (AppendQuestion, AppendAdmit, AppendOpen).
func AppendBatch(dst []byte, h *BatchHead, count int) []byte {
	dst = appendText(append(dst, byte(tagBatch)), h.Gateway)
	dst = binary.AppendUvarint(dst, h.ID)
	dst = appendMark(dst, h.AtLeast)
	return binary.AppendUvarint(dst, uint64(count))
}

// DecodeBatch decodes a message that is exactly one batch. It reuses b's slices.
// The requests are views of msg.
func DecodeBatch(msg []byte, b *Batch) error {
	r := reader{b: msg}
	r.tag(tagBatch, "batch")
	b.Gateway = keep(b.Gateway, r.token("gateway"))
	b.ID = r.number("batch id")
	r.mark(&b.AtLeast)
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
	numStatuses
)

// A ReplyHead begins a node's answer to a Batch.
type ReplyHead struct {
	ID     uint64 // the ID of the Batch
	Status Status
	Node   string // the node's id; see IsToken
	At     Mark   // the node's state when it began to decide
}

// A Reply is a node's whole answer to a Batch. It has one result for each
// request, in the same order.
type Reply struct {
	ReplyHead
	Results []Result
}

// AppendReply appends a reply, which is a whole message.
func AppendReply(dst []byte, r *Reply) []byte {
	dst = append(dst, byte(tagReply), byte(r.Status))
	dst = binary.AppendUvarint(dst, r.ID)
	dst = appendText(dst, r.Node)
	dst = appendMark(dst, r.At)
	if r.Status != StatusOK {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Results)))
	for i := range r.Results {
		dst = appendResult(dst, &r.Results[i])
	}
	return dst
}

// DecodeReply decodes a message that is exactly one reply. It reuses reply's
// slices and copies the reply's log id into each result.
func DecodeReply(msg []byte, reply *Reply) error {
	r := reader{b: msg}
	r.tag(tagReply, "reply")
	reply.Status = Status(r.byte("status"))
	if reply.Status >= numStatuses {
		r.fail("status")
	}
	reply.ID = r.number("batch id")
	reply.Node = keep(reply.Node, r.token("node"))
	r.mark(&reply.At)
	n := 0
	if reply.Status == StatusOK {
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

// An Announcement is the message that each node publishes once a second.
type Announcement struct {
	Node string // the node's id; see IsToken
	// Boot is a random number, chosen at each start. If it changes, the node has
	// lost all requests sent to it before.
	Boot  uint64
	Load  uint16 // thousandths of the workers' time spent busy, 0 to 1000
	Ready bool   // the node would answer now and is not about to stop
	At    Mark
}

// AppendAnnouncement appends an announcement, which is a whole message.
func AppendAnnouncement(dst []byte, a *Announcement) []byte {
	dst = appendText(append(dst, byte(tagAnnouncement)), a.Node)
	dst = binary.AppendUvarint(dst, a.Boot)
	dst = binary.AppendUvarint(dst, uint64(a.Load))
	dst = append(dst, boolByte(a.Ready))
	return appendMark(dst, a.At)
}

// MaxLoad is the greatest Load of an Announcement.
const MaxLoad = 1000

// DecodeAnnouncement decodes a message that is exactly one announcement.
func DecodeAnnouncement(msg []byte, a *Announcement) error {
	r := reader{b: msg}
	r.tag(tagAnnouncement, "announcement")
	a.Node = keep(a.Node, r.token("node"))
	a.Boot = r.number("boot")
	load := r.number("load")
	if load > MaxLoad {
		r.fail("load")
	}
	a.Load = uint16(load)
	a.Ready = r.bool("ready")
	r.mark(&a.At)
	return r.end()
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
