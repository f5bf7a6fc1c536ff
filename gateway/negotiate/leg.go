package negotiate

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

// readSize is the free space that a leg's buffer gets before a read.
const readSize = 2 << 10

var errTokens = &stream.Error{Condition: "policy-violation", Text: "too many elements before the session"}

// An openingLeg is the connection to one of the two peers of a negotiation,
// with its framer and the bytes that were read but not used yet. It belongs to
// one goroutine.
type openingLeg struct {
	conn   net.Conn
	framer *stream.Framer
	buf    []byte // begins with the last token
	used   int    // size of the last token
	header bool   // our opening tag was sent on this stream
	heard  bool   // any data was received, apart from TLS records

	tokens    int
	maxTokens int // 0: no bound; only the deadlines bound a backend

	interrupted atomic.Bool // the gateway is stopping: every wait ends at once
}

func newLeg(conn net.Conn, c stream.Config) *openingLeg {
	return &openingLeg{conn: conn, framer: stream.NewFramer(c)}
}

// release makes all waits of the leg end as soon as ctx is done. The returned
// function cancels this.
func (l *openingLeg) release(ctx context.Context) (stop func()) {
	conn := l.conn // the TCP connection; its deadlines also apply to TLS on top of it
	unhook := context.AfterFunc(ctx, func() {
		l.interrupted.Store(true)
		_ = conn.SetDeadline(past)
	})
	return func() { unhook() }
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

func (l *openingLeg) setDeadline(t time.Time) {
	_ = l.conn.SetDeadline(t)
	if l.interrupted.Load() {
		_ = l.conn.SetDeadline(past)
	}
}

// next reads the next token: a header if header is set, otherwise anything
// except white space. The element is valid until the next call.
func (l *openingLeg) next(header bool) (stream.Kind, stream.Element, error) {
	for {
		kind, err := l.token(header)
		if err != nil {
			return kind, stream.Element{}, err
		}
		if kind != stream.Space {
			return kind, l.framer.Element(), nil
		}
	}
}

func (l *openingLeg) token(header bool) (stream.Kind, error) {
	l.buf = l.buf[:copy(l.buf, l.buf[l.used:])]
	l.used = 0
	for {
		if len(l.buf) > 0 {
			kind, n, err := l.framer.Next(l.buf, header)
			if err != nil {
				return kind, err
			}
			if kind != stream.Incomplete {
				l.used = n
				if l.tokens++; l.maxTokens > 0 && l.tokens > l.maxTokens {
					return kind, errTokens
				}
				return kind, nil
			}
		}
		if err := l.read(); err != nil {
			return stream.Incomplete, err
		}
	}
}

func (l *openingLeg) read() error {
	if cap(l.buf)-len(l.buf) < readSize/2 {
		grown := make([]byte, len(l.buf), 2*cap(l.buf)+readSize)
		copy(grown, l.buf)
		l.buf = grown
	}
	n, err := l.conn.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+n]
	if n > 0 {
		l.heard = true
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// silent reports whether err means that the peer sent nothing before its
// deadline.
func (l *openingLeg) silent(err error) bool { return !l.heard && isTimeout(err) }

// pending reports whether there are bytes after the last token.
func (l *openingLeg) pending() bool { return len(l.buf) > l.used }

// rest returns a copy of the bytes after the last token, or nil if there are
// none.
func (l *openingLeg) rest() []byte {
	if !l.pending() {
		return nil
	}
	return append([]byte(nil), l.buf[l.used:]...)
}

// restart begins a new stream on the leg (RFC 6120 section 4.3.3). The bytes
// after the last token belong to the new stream.
func (l *openingLeg) restart() {
	l.framer.Reset()
	l.header = false
}

func (l *openingLeg) write(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// open sends our opening tag.
func (l *openingLeg) open(o stream.OpenTag) error {
	l.header = true
	return l.write(stream.AppendOpen(nil, o))
}

// secure starts TLS on the leg. It fails if unread bytes from before TLS are
// left.
func (l *openingLeg) secure(ctx context.Context, conn *tls.Conn) error {
	if l.pending() {
		return errors.New("unread bytes from before TLS are left")
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	l.conn, l.buf, l.used = conn, nil, 0
	l.restart()
	return nil
}

// close ends the stream, with an error if there is one, and closes the
// connection.
func (l *openingLeg) close(e *Error) {
	_ = l.conn.SetDeadline(time.Now().Add(partingTimeout))
	var out []byte
	switch {
	case e == nil:
		if l.header {
			out = stream.AppendClose(nil)
		}
	case !e.Silent:
		if !l.header {
			// A stream error must be inside a stream (RFC 6120 section
			// 4.9.1.2).
			out = stream.AppendOpen(nil, stream.OpenTag{ID: rand.Text(), Version: "1.0"})
		}
		wire := &stream.Error{Condition: e.Condition, Text: e.Text, App: e.App}
		out = stream.AppendClose(wire.AppendTo(out))
	}
	if len(out) > 0 {
		_ = l.write(out)
	}
	_ = l.conn.Close()
}
