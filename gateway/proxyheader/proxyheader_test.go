package proxyheader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

const v2 = "\r\n\r\n\x00\r\nQUIT\n"

// read passes the bytes to Parse as a connection does, and never more of them
// than Parse asks for. rest is the text after the header.
func read(text string) (h Header, rest string, err error) {
	var b []byte
	for {
		h, more, err := Parse(b)
		if err != nil || more == 0 {
			return h, text[len(b):], err
		}
		if more > len(text)-len(b) {
			return h, "", errShort
		}
		b = append(b, text[len(b):len(b)+more]...)
	}
}

var errShort = errors.New("more is wanted")

func TestParse(t *testing.T) {
	four := "\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x34\x14\x66"
	six := "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x12\x34\x14\x66"
	for _, c := range []struct{ text, want string }{
		{"PROXY TCP4 192.0.2.1 198.51.100.1 4660 5222\r\n", "192.0.2.1:4660 198.51.100.1:5222"},
		{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535 255.255.255.255:65535"},
		{"PROXY TCP6 2001:db8::7 2001:db8::1 4660 5222\r\n", "[2001:db8::7]:4660 [2001:db8::1]:5222"},
		{"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 5222\r\n", "[::ffff:192.0.2.1]:0 [::1]:5222"},
		{"PROXY UNKNOWN\r\n", "unknown"},
		{"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "unknown"},
		{"PROXY UNKNOWN" + strings.Repeat(" ", 92) + "\r\n", "unknown"}, // 107
		{v2 + "\x20\x00\x00\x00", "unknown"},
		{v2 + "\x20\x11\x00\x0c" + four, "unknown"},
		{v2 + "\x21\x00\x00\x00", "unknown"},
		{v2 + "\x21\x11\x00\x0c" + four, "192.0.2.1:4660 198.51.100.1:5222"},
		{v2 + "\x21\x21\x00\x24" + six, "[2001:db8::7]:4660 [2001:db8::1]:5222"},
		{v2 + "\x21\x11\x00\x10" + four + "\x04\x00\x01\x00", "192.0.2.1:4660 198.51.100.1:5222"},
	} {
		h, rest, err := read(c.text + "<stream")
		got := "unknown"
		if h.Known() {
			got = h.Source.String() + " " + h.Destination.String()
		}
		if err != nil || got != c.want || rest != "<stream" {
			t.Errorf("%q: %s, rest %q, %v", c.text, got, rest, err)
		}
		for n := range len(c.text) {
			if _, _, err := read(c.text[:n]); !errors.Is(err, errShort) {
				t.Errorf("%q: %v", c.text[:n], err)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	four := "\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x34\x14\x66"
	for _, text := range []string{
		"<stream:stream ",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00",
		"PROXY\tTCP4 192.0.2.1 198.51.100.1 1 2\r\n",
		"proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
		"PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n\r\n",
		"PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1 99999999999999999999\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n",
		"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
		"PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
		"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
		"PROXY TCP5 192.0.2.1 198.51.100.1 1 2\r\n",
		"PROXY UNKNOWNX\r\n",
		"PROXY UNKNOWN" + strings.Repeat(" ", 93) + "\r\n",
		v2 + "\x11\x11\x00\x0c" + four,                     // version 1
		v2 + "\x22\x11\x00\x0c" + four,                     // unknown command
		v2 + "\x21\x12\x00\x0c" + four,                     // datagrams
		v2 + "\x21\x31\x00\xd8" + strings.Repeat("a", 216), // AF_UNIX
		v2 + "\x21\x11\x00\x0b" + four[:11],                // too short for addresses
		v2 + "\x21\x21\x00\x0c" + four,                     // likewise
		v2 + "\x21\x11\x00\x0e" + four + "\x04\x00",        // incomplete value
		v2 + "\x21\x11\x00\x0f" + four + "\x04\x00\x01",
		v2 + "\x21\x11\xff\xff" + four,
		v2 + "\x21\x11\x00\x11" + four + "\x03\x00\x02ab",
		v2 + "\x21\x11\x00\x13" + four + "\x03\x00\x04abcd", // a wrong checksum
	} {
		if h, rest, err := read(text + strings.Repeat("x", 200)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, rest %q, %v", text, h, rest, err)
		}
	}
}

func TestChecksum(t *testing.T) {
	b, err := Append(nil, Header{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")})
	if err != nil {
		t.Fatal(err)
	}
	b[15] = 12 + 7
	b = append(b, 3, 0, 4, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if h, _, err := read(string(b)); err != nil || h.Source.Port() != 1 {
		t.Errorf("%v, %v", h, err)
	}
}

func TestAppend(t *testing.T) {
	for _, c := range [][4]string{
		{"192.0.2.1:1", "198.51.100.1:5222", "192.0.2.1:1", "198.51.100.1:5222"},
		{"[2001:db8::7]:1", "[::1]:5222", "[2001:db8::7]:1", "[::1]:5222"},
		{"[::ffff:192.0.2.1]:1", "198.51.100.1:5222", "192.0.2.1:1", "198.51.100.1:5222"},
		{"192.0.2.1:1", "[::1]:5222", "[::ffff:192.0.2.1]:1", "[::1]:5222"},
	} {
		b, err := Append([]byte("x"), Header{netip.MustParseAddrPort(c[0]), netip.MustParseAddrPort(c[1])})
		if err != nil {
			t.Fatal(err)
		}
		h, more, err := Parse(b[1:])
		if err != nil || more != 0 || h.Source.String() != c[2] || h.Destination.String() != c[3] {
			t.Errorf("%v: %v, %d, %v", c, h, more, err)
		}
	}
	for _, h := range []Header{{}, {Source: netip.MustParseAddrPort("192.0.2.1:1")}, {Destination: netip.MustParseAddrPort("192.0.2.1:1")}} {
		if b, err := Append(nil, h); err == nil || len(b) > 0 {
			t.Errorf("%v: %q", h, b)
		}
	}
}

func TestBegins(t *testing.T) {
	for text, want := range map[string]bool{"PROXY": true, "PROXY TCP4": true, "\r\n\r\n\x00": true, "\r\n\r\n<": false, "PROX": false, "": false, "<stream:stream>": false} {
		if Begins([]byte(text)) != want {
			t.Errorf("%q", text)
		}
	}
}

// FuzzParse checks that parsing step by step and at once give the same result,
// that nothing is read beyond the header, and that a parsed header can be
// written and parsed again.
func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4660 5222\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x10\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x34\x14\x66\x04\x00\x01\x00"))
	f.Add([]byte(v2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, rest, err := read(string(text))
		if err != nil {
			if h.Known() {
				t.Errorf("%v with an error", h)
			}
			return
		}
		whole := text[:len(text)-len(rest)]
		again, more, err := Parse(whole)
		if err != nil || more != 0 || again != h {
			t.Fatalf("%q: %v, %d, %v", whole, again, more, err)
		}
		if !bytes.HasPrefix(whole, []byte(keyword)) && !bytes.HasPrefix(whole, []byte(v2)) || !Begins(whole) {
			t.Fatalf("%q is a header", whole)
		}
		if !h.Known() {
			return
		}
		b, err := Append(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		again, more, err = Parse(b)
		if err != nil || more != 0 || again.Source.Addr().Unmap() != h.Source.Addr().Unmap() || again.Source.Port() != h.Source.Port() {
			t.Fatalf("%v became %v, %d, %v", h, again, more, err)
		}
	})
}
