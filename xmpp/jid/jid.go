// Package jid prepares, splits and compares XMPP addresses.
//
// Decisions depend on addresses. If two programs read the same spelling as two
// different users, access control has a hole. Therefore the package promises:
// RFC 7622 (PRECIS, IDNA2008) and RFC 6122 (stringprep) read every accepted
// bare address as the same user, preparing a prepared address changes nothing,
// and no input causes a panic. An address that the two RFCs read differently is
// refused.
//
// A resourcepart is opaque: valid UTF-8 without control characters is kept
// unchanged. A server may change it, but no rule depends on the resource of
// another user. Rules do depend on whether there is a resourcepart, so a
// resourcepart that servers read as empty is refused.
//
// All other packages compare prepared addresses, byte by byte. Package jid makes
// no look-ups, and it changes an address only by preparing it.
package jid

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// MaxPart is the greatest length in bytes of a localpart, domainpart or
// resourcepart (RFC 7622 sections 3.2 to 3.4). It applies before and after
// preparation: some servers check the unprepared part, and the limit bounds the
// work of preparation.
const MaxPart = 1023

// Addr is a prepared address. It is a view of bytes that must not change while
// the Addr is in use. The zero Addr is the absent address. Copying an Addr is
// cheap.
type Addr struct {
	b     []byte
	local uint16 // length of the localpart, 0 when there is none
	bare  uint16 // length of the bare address
}

// Parse prepares an address. If the bare address in raw is prepared ASCII
// already, the Addr is a view of raw and nothing is allocated; otherwise it is
// a new copy. The error is an *Error.
func Parse(raw []byte) (Addr, error) {
	if a, ok := parseASCII(raw); ok {
		return a, nil
	}
	if folded, changed := foldASCII(raw); changed {
		if a, ok := parseASCII(folded); ok {
			return a, nil
		}
	}
	return parse(raw)
}

// parse is Parse without the fast path for ASCII.
func parse(raw []byte) (Addr, error) {
	if !utf8.Valid(raw) {
		return Addr{}, &Error{Whole, reasonUTF8}
	}
	s := string(raw)
	// Separators are found before preparation, because preparation may produce
	// more of them (RFC 7622 section 3.1).
	s, resource, hasResource := strings.Cut(s, "/")
	if hasResource && resource == "" {
		return Addr{}, &Error{Resourcepart, reasonEmpty}
	}
	local, domain, hasLocal := strings.Cut(s, "@")
	if !hasLocal {
		local, domain = "", s
	} else if local == "" {
		return Addr{}, &Error{Localpart, reasonEmpty}
	}
	return Join(local, domain, resource)
}

// Split parses an address and refuses it unless it is prepared already. If the
// bare address is ASCII, the Addr is a view of prepared, otherwise a new copy.
func Split(prepared []byte) (Addr, error) {
	a, err := Parse(prepared)
	if err != nil {
		return Addr{}, err
	}
	if !a.SameAs(prepared) {
		return Addr{}, &Error{Whole, reasonUnprepared}
	}
	return a, nil
}

// Join prepares three parts and joins them. An empty localpart or resourcepart
// means that the part is absent.
func Join(local, domain, resource string) (Addr, error) {
	domain, err := Domain(domain)
	if err != nil {
		return Addr{}, err
	}
	b := make([]byte, 0, len(local)+1+len(domain)+1+len(resource))
	if local != "" {
		if local, err = prepare(Localpart, local); err != nil {
			return Addr{}, err
		}
		b = append(append(b, local...), '@')
	}
	b = append(b, domain...)
	a := Addr{local: uint16(len(local)), bare: uint16(len(b))}
	if resource != "" {
		if reason := resourceFault([]byte(resource)); reason != "" {
			return Addr{}, &Error{Resourcepart, reason}
		}
		b = append(append(b, '/'), resource...)
	}
	a.b = b
	return a, nil
}

// Domain prepares a domainpart, which is a domain name or an IP literal. In a
// domain name it turns A-labels into U-labels and strips a trailing dot.
func Domain(s string) (string, error) {
	if isDomain(s) {
		return s, nil
	}
	return prepareDomain(s)
}

// Bare prepares an address that must have a localpart and no resourcepart.
func Bare(s string) (string, error) {
	a, err := Parse([]byte(s))
	switch {
	case err != nil:
		return "", err
	case !a.HasLocal():
		return "", &Error{Localpart, reasonMissing}
	case a.HasResource():
		return "", &Error{Resourcepart, reasonUnwanted}
	}
	return a.String(), nil
}

// IsZero reports whether the address is absent.
func (a Addr) IsZero() bool { return len(a.b) == 0 }

// Bytes returns the whole prepared address. The caller must not change it.
func (a Addr) Bytes() []byte { return a.b }

// String returns the whole prepared address as a new string.
func (a Addr) String() string { return string(a.b) }

// HasLocal reports whether the address has a localpart.
func (a Addr) HasLocal() bool { return a.local > 0 }

// HasResource reports whether the address has a resourcepart.
func (a Addr) HasResource() bool { return int(a.bare) < len(a.b) }

// Local returns the localpart. It is empty if the address has none.
func (a Addr) Local() []byte { return a.b[:a.local:a.local] }

// Domain returns the domainpart.
func (a Addr) Domain() []byte {
	if a.local > 0 {
		return a.b[a.local+1 : a.bare : a.bare]
	}
	return a.b[:a.bare:a.bare]
}

// Resource returns the resourcepart. It is empty if the address has none.
func (a Addr) Resource() []byte {
	if !a.HasResource() {
		return nil
	}
	return a.b[a.bare+1:]
}

// Bare returns the address without its resourcepart, as bytes.
func (a Addr) Bare() []byte { return a.b[:a.bare:a.bare] }

// WithoutResource returns the address without its resourcepart.
func (a Addr) WithoutResource() Addr { return Addr{a.Bare(), a.local, a.bare} }

// Clone returns an equal address that shares no bytes with a.
func (a Addr) Clone() Addr { return Addr{bytes.Clone(a.b), a.local, a.bare} }

// Equal reports whether both are the same address, or both absent.
func (a Addr) Equal(b Addr) bool { return bytes.Equal(a.b, b.b) }

// SameAs reports whether raw equals the prepared address byte for byte.
func (a Addr) SameAs(raw []byte) bool { return bytes.Equal(a.b, raw) }
