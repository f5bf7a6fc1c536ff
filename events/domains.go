package events

import "google.golang.org/protobuf/encoding/protowire"

// Security says how a gateway connects to a backend.
type Security uint8

// The ways to reach a backend (RFC 6120 section 5, XEP-0368).
const (
	SecurityNone     Security = iota // plain, for loopback and private networks
	SecurityStartTLS                 // STARTTLS, certificate verified
	SecurityTLS                      // direct TLS, certificate verified
)

var securityNames = names{SecurityNone: "none", SecurityStartTLS: "starttls", SecurityTLS: "tls"}

func (s Security) String() string { return securityNames.of(uint8(s)) }

// Valid reports whether this version knows the value.
func (s Security) Valid() bool { return securityNames.valid(uint8(s)) }

// A Backend is one address of a domain's own XMPP server.
type Backend struct {
	Address  string // host:port
	Security Security
	// Proxy: gateways first send a PROXY protocol header (version 2) with the
	// client's address.
	Proxy bool
}

// The events of a domain.
type (
	// DomainAdded adds an XMPP host to the tenant. DefaultRole is never empty.
	DomainAdded struct {
		Domain      string
		DefaultRole string
		Backends    []Backend
	}
	// DomainBackendsSet replaces a domain's backends. Gateways try them in order.
	DomainBackendsSet struct {
		Domain   string
		Backends []Backend
	}
	// DomainDefaultRoleSet changes a domain's default role. It ends the sessions of
	// the domain's accounts for which no role is set.
	DomainDefaultRoleSet struct{ Domain, Role string }
	// DomainSuspended ends the domain's sessions and blocks new ones. ByOperator is set
	// if an operator suspended the domain; then only an operator can resume it. An
	// operator may also suspend a domain that the tenant has already suspended.
	DomainSuspended struct {
		Domain     string
		ByOperator bool
	}
	// DomainResumed undoes DomainSuspended, whether ByOperator is set or not.
	DomainResumed struct{ Domain string }
	// DomainRemoved ends the domain's sessions and removes its members.
	DomainRemoved struct{ Domain string }
)

func (e *Backend) wire(c *codec) {
	c.name(1, &e.Address)
	enum(c, 2, &e.Security)
	c.flag(3, &e.Proxy)
}

func (e *DomainAdded) wire(c *codec) {
	c.name(1, &e.Domain)
	c.name(2, &e.DefaultRole)
	c.backends(3, &e.Backends)
}
func (e DomainAdded) encode(out []byte) []byte { return encodeBody(out, 8, &e) }
func (e DomainAdded) describe() string {
	return line("domain added", plain(e.Domain), "default-role", plain(e.DefaultRole), backends(e.Backends))
}
func (e DomainAdded) subject() Subject { return Subject{KindDomain, e.Domain} }
func (DomainAdded) effects() Effects   { return ChangesPermissions | ChangesAdmission }

func (e *DomainBackendsSet) wire(c *codec) {
	c.name(1, &e.Domain)
	c.backends(2, &e.Backends)
}
func (e DomainBackendsSet) encode(out []byte) []byte { return encodeBody(out, 9, &e) }
func (e DomainBackendsSet) describe() string {
	return line("domain backends set", plain(e.Domain), backends(e.Backends))
}
func (e DomainBackendsSet) subject() Subject { return Subject{KindDomain, e.Domain} }
func (DomainBackendsSet) effects() Effects   { return 0 }

func (e *DomainDefaultRoleSet) wire(c *codec) {
	c.name(1, &e.Domain)
	c.name(2, &e.Role)
}
func (e DomainDefaultRoleSet) encode(out []byte) []byte { return encodeBody(out, 10, &e) }
func (e DomainDefaultRoleSet) describe() string {
	return line("domain default role set", plain(e.Domain), plain(e.Role))
}
func (e DomainDefaultRoleSet) subject() Subject { return Subject{KindDomain, e.Domain} }
func (DomainDefaultRoleSet) effects() Effects   { return ChangesPermissions | RevokesSessions }

func (e *DomainSuspended) wire(c *codec) {
	c.name(1, &e.Domain)
	c.flag(2, &e.ByOperator)
}
func (e DomainSuspended) encode(out []byte) []byte { return encodeBody(out, 11, &e) }
func (e DomainSuspended) describe() string {
	return line("domain suspended", plain(e.Domain), byOperator(e.ByOperator))
}
func (e DomainSuspended) subject() Subject { return Subject{KindDomain, e.Domain} }
func (DomainSuspended) effects() Effects   { return ChangesAdmission | RevokesSessions }

func (e *DomainResumed) wire(c *codec)           { c.name(1, &e.Domain) }
func (e DomainResumed) encode(out []byte) []byte { return encodeBody(out, 12, &e) }
func (e DomainResumed) describe() string         { return line("domain resumed", plain(e.Domain)) }
func (e DomainResumed) subject() Subject         { return Subject{KindDomain, e.Domain} }
func (DomainResumed) effects() Effects           { return ChangesAdmission }

func (e *DomainRemoved) wire(c *codec)           { c.name(1, &e.Domain) }
func (e DomainRemoved) encode(out []byte) []byte { return encodeBody(out, 13, &e) }
func (e DomainRemoved) describe() string         { return line("domain removed", plain(e.Domain)) }
func (e DomainRemoved) subject() Subject         { return Subject{KindDomain, e.Domain} }
func (DomainRemoved) effects() Effects {
	return ChangesPermissions | ChangesAdmission | RevokesSessions
}

// backends is a field with a list of backends.
func (c *codec) backends(n protowire.Number, p *[]Backend) {
	if !c.decoding {
		for i := range *p {
			m := c.enter(n)
			(*p)[i].wire(c)
			c.leave(m)
		}
		return
	}
	for c.next(n, protowire.BytesType) {
		var b Backend
		m := c.enter(n)
		b.wire(c)
		c.leave(m)
		*p = append(*p, b)
	}
}
