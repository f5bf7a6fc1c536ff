package negotiate

import (
	"context"
	"errors"
	"net"
)

// maxTLSSpace bounds the white space that a client may send between
// <starttls/> and its TLS ClientHello.
const maxTLSSpace = 1 << 10

// startTLS offers STARTTLS and nothing else (RFC 6120 section 5.4).
//
// XML white space after <starttls/> is allowed and discarded, because some
// clients end each element with a newline. Any other byte ends the stream. An
// attacker on the network may have inserted such a byte, so the gateway must
// never read it as if it had come inside TLS.
func (x *negotiation) startTLS(ctx context.Context) error {
	const offer = "<stream:features><starttls xmlns='" + nsTLS + "'><required/></starttls></stream:features>"
	const proceed = "<proceed xmlns='" + nsTLS + "'/>"
	if err := x.client.write([]byte(offer)); err != nil {
		return readFailure(err)
	}
	el, err := x.clientElement()
	if err != nil {
		return err
	}
	if !el.Is(nsTLS, "starttls") {
		return fail("not-authorized", "TLS is required first", nil)
	}
	dropped, ok := x.client.dropSpace()
	if !ok || dropped > maxTLSSpace {
		return fail("policy-violation", "bytes after starttls", nil)
	}
	if err := x.client.write([]byte(proceed)); err != nil {
		return readFailure(err)
	}
	x.client.conn = &spaceConn{Conn: x.client.conn, left: maxTLSSpace - dropped}
	return x.handshake(ctx)
}

// dropSpace discards the XML white space after the last token and returns its
// length. ok is false if any other byte follows.
func (l *openingLeg) dropSpace() (n int, ok bool) {
	n = leadingSpace(l.buf[l.used:])
	l.used += n
	return n, !l.pending()
}

// leadingSpace counts the bytes of XML white space at the start of b.
func leadingSpace(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return i
		}
	}
	return len(b)
}

var errSpace = errors.New("too much white space before TLS")

// A spaceConn skips the white space that a client sends before its first TLS
// record, which begins with 0x16. It passes all bytes after that unchanged.
// Only one goroutine at a time may call Read. tls.Conn keeps to this.
type spaceConn struct {
	net.Conn
	left  int  // white space that may still come
	begun bool // a byte other than white space has come
}

// Read implements net.Conn.
func (c *spaceConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if c.begun || n == 0 {
			return n, err
		}
		skip := leadingSpace(b[:n])
		if skip > c.left {
			return 0, errSpace
		}
		c.left -= skip
		if n = copy(b, b[skip:n]); n > 0 {
			c.begun = true
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}
