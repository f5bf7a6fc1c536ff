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

// A leg is one side of a session. It is read by one pump and written by both:
// what is passed on comes from one, answers come from the other.
type leg struct {
	conn  net.Conn
	final atomic.Int64 // a read deadline that nothing extends, Unix nanoseconds
	brief atomic.Bool  // the session ends: writes get little time

	mu     sync.Mutex // held for one write, so that elements do not mix
	broken error      // a write has failed: what was sent last may be a part
	closed bool       // our closing tag has been sent
}

// arm sets the deadline of the next read.
func (l *leg) arm(d time.Duration) {
	_ = l.conn.SetReadDeadline(time.Now().Add(d))
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}

// lastRead bounds all reads from now on.
func (l *leg) lastRead(t time.Time) {
	l.final.Store(t.UnixNano())
	_ = l.conn.SetReadDeadline(t)
}

// hurry ends reads at once and writes soon.
func (l *leg) hurry() {
	l.brief.Store(true)
	_ = l.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
	l.lastRead(past)
}

// write hands over whole elements. The verdicts they stand on were asked for
// at asked or later; the zero time means that they stand on none.
func (l *leg) write(b []byte, asked time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !asked.IsZero() && time.Since(asked) > maxVerdictAge {
		return errStale
	}
	return l.send(b)
}

// end sends the stream error, if there is one, and the closing tag, once.
func (l *leg) end(e *stream.Error) {
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
func (l *leg) send(b []byte) error {
	if l.closed {
		return errEnded
	}
	for len(b) > 0 && l.broken == nil {
		n := min(len(b), writePiece)
		_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if l.brief.Load() { // looked at after, so that hurry's deadline holds
			_ = l.conn.SetWriteDeadline(time.Now().Add(partingTimeout))
		}
		_, l.broken = l.conn.Write(b[:n])
		b = b[n:]
	}
	return l.broken
}

// unlimited takes the deadline from the next read, but for the last one.
func (l *leg) unlimited() {
	_ = l.conn.SetReadDeadline(time.Time{})
	if t := l.final.Load(); t != 0 {
		_ = l.conn.SetReadDeadline(time.Unix(0, t))
	}
}
