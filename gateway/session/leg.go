package session

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

// errStale: the verdict on what was to be written is too old to be acted on.
var errStale = errors.New("verdict is too old")

// errEnded: our closing tag has been sent; nothing may come behind it.
var errEnded = errors.New("stream was closed by us")

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// A runningLeg is the connection to one of a session's two peers. One pump reads
// it and both write it: one passes stanzas on, the other answers refused ones.
type runningLeg struct {
	conn   net.Conn
	final  atomic.Int64 // a read deadline that nothing extends, Unix nanoseconds
	urgent atomic.Bool  // the session ends: writes get little time

	mu     sync.Mutex // held for one write, so that elements do not mix
	broken error      // a write has failed: what was sent last may be a part
	closed bool       // our closing tag has been sent
}

// arm sets the deadline of the next read.
func (l *runningLeg) arm(d time.Duration) {
	_ = l.conn.SetReadDeadline(time.Now().Add(d))
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}

// lastRead bounds all reads from now on.
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

// write hands over whole elements. The verdicts they stand on were asked for
// at asked or later; the zero time means that they stand on none.
func (l *runningLeg) write(b []byte, asked time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !asked.IsZero() && time.Since(asked) > maxVerdictAge {
		return errStale
	}
	return l.send(b)
}

// end sends the stream error, if there is one, and the closing tag, once.
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

// send writes piece by piece, so that a slow peer has writeTimeout for each.
// The caller holds the lock.
func (l *runningLeg) send(b []byte) error {
	if l.closed {
		return errEnded
	}
	for len(b) > 0 && l.broken == nil {
		n := min(len(b), writePiece)
		_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if l.urgent.Load() { // looked at after, so that abort's deadline holds
			_ = l.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
		}
		_, l.broken = l.conn.Write(b[:n])
		b = b[n:]
	}
	return l.broken
}

// unlimited takes the deadline from the next read, but for the last one.
func (l *runningLeg) unlimited() {
	_ = l.conn.SetReadDeadline(time.Time{})
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}
