// Package proxyheader reads and writes the header with which a proxy reports
// the addresses of a connection it forwards: the PROXY protocol of HAProxy,
// versions 1 and 2.
//
// It promises that each header it accepts has only one interpretation: it
// refuses headers whose meaning the specification leaves open. Parse returns
// the number of missing bytes, so that its caller never reads beyond the
// header.
package proxyheader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
)

const (
	// signature begins a header of version 2 (section 2.2).
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	// keyword begins a header of version 1 (section 2.1).
	keyword = "PROXY "
	// maxText is the length of the longest header of version 1, including CR
	// LF.
	maxText = 107
	// minText is the length of the shortest header, "PROXY UNKNOWN" and CR LF.
	minText = 15
	// fixed is the length of the fixed part of a header of version 2.
	fixed = 16
	// maxBinary bounds the part after the fixed part. The addresses take 36
	// bytes; proxies add a few hundred bytes about TLS.
	maxBinary = 2 << 10
)

// ErrMalformed means that the bytes are not a valid header.
var ErrMalformed = errors.New("malformed PROXY header")

// A Header is the information that a proxy gives about a connection.
type Header struct {
	// Source is the client's address, and Destination is the address to which
	// the client has connected. Both have the same address family. The zero
	// Header contains no addresses: the proxy itself opened the connection
	// (LOCAL), or does not know the client (UNKNOWN, UNSPEC).
	Source, Destination netip.AddrPort
}

// Known reports whether the header contains a client's address.
func (h Header) Known() bool { return h.Source.IsValid() }

// Begins reports whether b begins like a header.
func Begins(b []byte) bool {
	return bytes.HasPrefix(b, []byte(keyword[:5])) || bytes.HasPrefix(b, []byte(signature[:5]))
}

// Parse parses the header at the start of b. If the header is incomplete, more
// is the number of bytes to read next; all of them belong to the header. If
// more is 0 and err is nil, the header is complete and fills b.
func Parse(b []byte) (h Header, more int, err error) {
	if len(b) < minText {
		// Every header is at least minText bytes long, so a caller that reads
		// that many bytes does not read beyond it.
		if !begins(b, signature) && !begins(b, keyword) {
			return Header{}, 0, fmt.Errorf("%w: not the beginning of version 1 or 2", ErrMalformed)
		}
		return Header{}, minText - len(b), nil
	}
	switch {
	case begins(b, signature):
		return parseBinary(b)
	case begins(b, keyword):
		return parseText(b)
	}
	return Header{}, 0, fmt.Errorf("%w: not the beginning of version 1 or 2", ErrMalformed)
}

// begins reports whether b and prefix are equal up to the length of the shorter
// one.
func begins(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parseText parses version 1 (section 2.1).
func parseText(b []byte) (h Header, more int, err error) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) >= maxText, end >= maxText:
		return Header{}, 0, fmt.Errorf("%w: more than %d bytes", ErrMalformed, maxText)
	case end < 0 && b[len(b)-1] == '\r':
		return Header{}, 1, nil
	case end < 0:
		return Header{}, min(2, maxText-len(b)), nil
	case end != len(b)-1 || b[end-1] != '\r':
		return Header{}, 0, fmt.Errorf("%w: the line does not end in CR LF", ErrMalformed)
	}
	line := string(b[len(keyword) : end-1])
	if rest, ok := strings.CutPrefix(line, "UNKNOWN"); ok && (rest == "" || rest[0] == ' ') {
		return Header{}, 0, nil // the rest of the line must be ignored
	}
	f := strings.Split(line, " ")
	if len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6" {
		return Header{}, 0, fmt.Errorf("%w: want TCP4, TCP6 or UNKNOWN, two addresses and two ports", ErrMalformed)
	}
	if h.Source, err = parseAddress(f[0], f[1], f[3]); err != nil {
		return Header{}, 0, err
	}
	if h.Destination, err = parseAddress(f[0], f[2], f[4]); err != nil {
		return Header{}, 0, err
	}
	return h, 0, nil
}

// parseAddress parses an address and a port of version 1.
func parseAddress(family, address, port string) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Is4() != (family == "TCP4") || ip.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: not a %s address", ErrMalformed, family)
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			n = -1
			break
		}
		n = 10*n + int(port[i]-'0')
	}
	if n < 0 || n > 65535 || port == "" || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("%w: not a port", ErrMalformed)
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// The bytes of version 2 (section 2.2).
const (
	commandLocal = 0x20 // version 2 in the high half
	commandProxy = 0x21
	unspecified  = 0x00
	tcp4         = 0x11 // AF_INET, STREAM
	tcp6         = 0x21 // AF_INET6, STREAM
	typeCRC32C   = 0x03 // a checksum over the whole header
)

// parseBinary parses version 2. The bytes after the addresses must be complete
// type-length-value fields, and a checksum among them must be correct.
func parseBinary(b []byte) (h Header, more int, err error) {
	if len(b) < fixed {
		return Header{}, fixed - len(b), nil
	}
	size := int(binary.BigEndian.Uint16(b[14:]))
	if size > maxBinary {
		return Header{}, 0, fmt.Errorf("%w: more than %d bytes", ErrMalformed, fixed+maxBinary)
	}
	switch have := len(b) - fixed; {
	case have < size:
		return Header{}, size - have, nil
	case have > size:
		return Header{}, 0, fmt.Errorf("%w: extra bytes after it", ErrMalformed)
	}
	rest := b[fixed:]
	length := 0
	switch command, family := b[12], b[13]; {
	case command == commandLocal:
		return Header{}, 0, nil // everything else must be ignored
	case command != commandProxy:
		return Header{}, 0, fmt.Errorf("%w: command %#02x", ErrMalformed, command)
	case family == unspecified:
		return Header{}, 0, nil
	case family == tcp4:
		length = 4
	case family == tcp6:
		length = 16
	default:
		return Header{}, 0, fmt.Errorf("%w: family and protocol %#02x are not TCP over IPv4 or IPv6", ErrMalformed, family)
	}
	if len(rest) < 2*length+4 {
		return Header{}, 0, fmt.Errorf("%w: %d bytes are too few for two addresses", ErrMalformed, len(rest))
	}
	source, _ := netip.AddrFromSlice(rest[:length])
	destination, _ := netip.AddrFromSlice(rest[length : 2*length])
	h.Source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(rest[2*length:]))
	h.Destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(rest[2*length+2:]))
	if err := checkValues(b, fixed+2*length+4); err != nil {
		return Header{}, 0, err
	}
	return h, 0, nil
}

// checkValues checks the type-length-value fields that begin at offset at
// (section 2.2.1).
func checkValues(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < 3 {
			return fmt.Errorf("%w: incomplete value", ErrMalformed)
		}
		n := int(binary.BigEndian.Uint16(b[at+1:]))
		if len(b)-at-3 < n {
			return fmt.Errorf("%w: incomplete value", ErrMalformed)
		}
		if b[at] == typeCRC32C {
			if n != crc32.Size {
				return fmt.Errorf("%w: a checksum of %d bytes", ErrMalformed, n)
			}
			// The sender computed the checksum with zeros in the checksum's
			// field.
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, b[:at+3])
			sum = crc32.Update(sum, table, make([]byte, crc32.Size))
			sum = crc32.Update(sum, table, b[at+3+n:])
			if sum != binary.BigEndian.Uint32(b[at+3:]) {
				return fmt.Errorf("%w: the checksum is wrong", ErrMalformed)
			}
		}
		at += 3 + n
	}
	return nil
}

// Append appends a header of version 2 with the addresses of h. It returns an
// error if an address is missing, so it never writes a header without the
// client's address. If the addresses are of different families, both are
// written as IPv6.
func Append(dst []byte, h Header) ([]byte, error) {
	source, destination := h.Source.Addr().Unmap(), h.Destination.Addr().Unmap()
	if !source.IsValid() || !destination.IsValid() {
		return dst, errors.New("a PROXY header needs the client's address and the one it connected to")
	}
	dst = append(dst, signature...)
	dst = append(dst, commandProxy)
	if source.Is4() && destination.Is4() {
		dst = append(dst, tcp4, 0, 12)
		dst = append(dst, source.AsSlice()...)
		dst = append(dst, destination.AsSlice()...)
	} else {
		dst = append(dst, tcp6, 0, 36)
		s, d := source.As16(), destination.As16()
		dst = append(dst, s[:]...)
		dst = append(dst, d[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port()), nil
}
