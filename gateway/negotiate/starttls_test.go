package negotiate

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

// A chunked connection returns at most n bytes at a time.
type chunked struct {
	net.Conn
	rest []byte
	n    int
}

func (c *chunked) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), c.n)], c.rest)
	c.rest = c.rest[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestSpaceConn checks that leading white space is skipped up to the bound and
// that no other byte is skipped, however the bytes are split into reads.
func TestSpaceConn(t *testing.T) {
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{"", "", nil},
		{"\x16\x03\x01", "\x16\x03\x01", nil},
		{"\n\x16\x03\x01", "\x16\x03\x01", nil},
		{" \t\r\n\x16 \n", "\x16 \n", nil},
		{"\n<auth/>", "<auth/>", nil},
		{"\v\x16", "\v\x16", nil},
		{"\xc2\xa0\x16", "\xc2\xa0\x16", nil},
		{strings.Repeat("\n", 20), "", nil},
		{strings.Repeat("\n", 20) + "\x16" + strings.Repeat("\n", 30), "\x16" + strings.Repeat("\n", 30), nil},
		{strings.Repeat("\n", 21) + "\x16", "", errSpace},
	} {
		for n := 1; n < 60; n++ {
			got, err := io.ReadAll(&spaceConn{Conn: &chunked{rest: []byte(c.in), n: n}, left: 20})
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %d at a time: %q, %v; want %q, %v", c.in, n, got, err, c.want, c.err)
			}
		}
	}
}

// TestDropSpace checks that only white space is dropped and that other bytes
// are reported.
func TestDropSpace(t *testing.T) {
	const el = "<starttls xmlns='" + nsTLS + "'/>"
	for _, c := range []struct {
		behind string
		n      int
		ok     bool
	}{
		{"", 0, true}, {"\n", 1, true}, {" \t\r\n", 4, true}, {"\n<", 1, false}, {"\x00", 0, false}, {"a\n", 0, false},
		{strings.Repeat(" ", maxTLSSpace+1), maxTLSSpace + 1, true},
	} {
		l := newLeg(&chunked{rest: []byte(testHeader + el + c.behind), n: 1 << 20}, stream.Config{Limits: stream.PreAuthLimits()})
		for _, header := range []bool{true, false} {
			if _, _, err := l.next(header); err != nil {
				t.Fatal(err)
			}
		}
		n, ok := l.dropSpace()
		if n != c.n || ok != c.ok || l.pending() == c.ok {
			t.Errorf("%q: %d, %t, pending %t", c.behind, n, ok, l.pending())
		}
		if rest := l.rest(); !bytes.HasSuffix([]byte(c.behind), rest) {
			t.Errorf("%q: %q is left", c.behind, rest)
		}
	}
}
