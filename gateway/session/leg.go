package session

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/internal/boottime"
	"github.com/postern-im/postern/xmpp/stream"
)

// errStale means that a verdict for the bytes to be written is not fresh any more.
var errStale = errors.New("verdict is too old")

// errEnded means that nothing may be written any more, because our closing tag
// was sent.
var errEnded = errors.New("stream was closed by us")

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// A runningLeg is the connection to one of the two peers of a session. One pump
// reads from it. Both pumps write to it: one forwards stanzas, the other
// answers refused ones.
type runningLeg struct {
	conn   net.Conn
	clock  boottime.Clock
	final  atomic.Int64 // the final read deadline, in Unix nanoseconds; zero: none
	urgent atomic.Bool  // the session is ending: writes have only partingTimeout

	mu     sync.Mutex // held for one write, so that elements do not interleave
	broken error      // the error of a failed write, which may have sent a part
	closed bool       // our closing tag was sent
}

// arm sets the deadline of the next read.
func (l *runningLeg) arm(d time.Duration) {
	_ = l.conn.SetReadDeadline(time.Now().Add(d))
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}

// lastRead sets the final deadline for all reads.
func (l *runningLeg) lastRead(t time.Time) {
	l.final.Store(t.UnixNano())
	_ = l.conn.SetReadDeadline(t)
}

// abort ends reads at once, and writes after partingTimeout.
func (l *runningLeg) abort() {
	l.urgent.Store(true)
	_ = l.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
	l.lastRead(past)
}

// pass writes whole stanzas. If fresh reports that one of their verdicts is not
// fresh now, pass writes nothing and returns errStale. It asks with the lock held,
// because another write may have held the lock for a long time.
func (l *runningLeg) pass(b []byte, fresh func(now time.Duration) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !fresh(l.clock()) {
		return errStale
	}
	return l.send(b)
}

// write writes whole elements of the gateway's own, and space. Neither needs a
// verdict.
func (l *runningLeg) write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send(b)
}

// end sends the stream error, if there is one, and the closing tag. Nothing is
// written after that.
func (l *runningLeg) end(e *stream.Error) {
	var out []byte
	if e != nil {
		out = e.AppendTo(out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.send(stream.AppendClose(out))
	l.closed = true
}

// send writes in pieces, so that a slow peer has writeTimeout for each piece.
// The caller holds mu.
func (l *runningLeg) send(b []byte) error {
	if l.closed {
		return errEnded
	}
	for len(b) > 0 && l.broken == nil {
		n := min(len(b), writePiece)
		_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if l.urgent.Load() { // checked after setting the deadline, so that abort wins
			_ = l.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
		}
		_, l.broken = l.conn.Write(b[:n])
		b = b[n:]
	}
	return l.broken
}

// unlimited removes the read deadline, except for a final one.
func (l *runningLeg) unlimited() {
	_ = l.conn.SetReadDeadline(time.Time{})
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}
