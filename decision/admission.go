package decision

// A Security says how a gateway connects to a backend. The values equal those
// of events.Security.
type Security uint8

// The ways to reach a backend.
const (
	Plain    Security = iota // no TLS: loopback and private networks
	StartTLS                 // RFC 6120 section 5, certificate verified
	TLS                      // direct TLS (XEP-0368), certificate verified
	numSecurities
)

// Valid reports whether this version knows the value.
func (s Security) Valid() bool { return s < numSecurities }

// flagProxy is a bit in the byte of a Security on the wire. It means that Proxy is
// set. A gateway that does not know the bit refuses the admission, so it never
// connects without the PROXY header.
const flagProxy = 0x80

// The flags of an admission on the wire. A gateway that does not know
// flagLimited refuses the admission, so it never ignores the limit.
const (
	flagKnown   = 1
	flagLimited = 2 // MaxSessions follows the domain
)

// A Backend is one address of a domain's own XMPP server.
type Backend struct {
	Address  string // host:port
	Security Security
	// Proxy: the gateway first sends a PROXY protocol header (version 2) with the
	// client's address.
	Proxy bool
}

// An Admission is the answer to the question whether this installation serves a
// domain, and at which backends.
type Admission struct {
	// Known: the domain is served. If it is not, Tenant, Domain, Backends and
	// MaxSessions are empty.
	Known    bool
	Tenant   string
	Domain   string // prepared
	Backends []Backend
	// MaxSessions is how many sessions the tenant may have at each gateway. Zero
	// means no limit.
	MaxSessions uint64
	// LogID and Position name the state of the log that the answer is based on.
	// Every Question of a session of this admission carries them as OpenedLog and
	// Opened, so a revocation made while the session is negotiated also ends it.
	LogID    string
	Position uint64
	// Freshness says until when the admission may be acted on.
	Freshness
}

// An Opening is the answer to the question whether a session may begin.
type Opening struct {
	// Allowed: the account's domain is the tenant's and nothing is suspended.
	Allowed bool
	// LogID and Position name the state of the log that the answer is based on.
	// If it is not the log of the session's Admission, the session does not begin.
	LogID    string
	Position uint64
	// Freshness says until when the opening may be acted on.
	Freshness
}

// A Revocation notifies gateways that sessions opened before Position may have to
// end. A gateway then asks about each of these sessions again, so idle sessions
// end at once too. If a Revocation is lost, a revoked session only ends later:
// its next Question is answered with End.
type Revocation struct {
	Tenant   string // empty means all tenants; never empty on the wire
	Account  string // empty means all accounts of the tenant
	Position uint64
	LogID    string
}
