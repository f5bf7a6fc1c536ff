package decision

// A Security says how a backend is reached; the numbers are those of
// events.Security.
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

// flagProxy stands beside a Security on the wire. A gateway that does not know it
// refuses the admission, and so never connects without the header.
const flagProxy = 0x80

// The flags of an admission on the wire. A gateway that does not know
// flagLimited refuses the admission, and so never goes without the limit.
const (
	flagKnown   = 1
	flagLimited = 2 // how many sessions stands behind the domain
)

// A Backend is one address of a domain's own XMPP server.
type Backend struct {
	Address  string // host:port
	Security Security
	// Proxy: a PROXY protocol header (version 2) with the client's address goes
	// before anything else.
	Proxy bool
}

// An Admission is the answer to "may this domain in, and where to".
type Admission struct {
	// Known: the domain is served. All else is empty when it is not.
	Known    bool
	Tenant   string
	Domain   string // prepared
	Backends []Backend
	// MaxSessions is how many sessions the tenant may have at each gateway; 0: no
	// limit.
	MaxSessions uint64
	// LogID and Position tell the state of the log it was made at. Every
	// Question of a session of this admission carries them as OpenedLog and
	// Opened: a revocation that comes while the session is negotiated ends it.
	LogID    string
	Position uint64
}

// An Opening is the answer to "may this session begin".
type Opening struct {
	// Allowed: the account's domain is the tenant's and nothing is suspended.
	Allowed bool
	// LogID and Position tell the state of the log it was made at. It must be
	// the log of the session's Admission, or the session does not begin.
	LogID    string
	Position uint64
}

// A Revocation tells gateways that sessions opened before Position may have to
// end. A gateway asks about each of them again, so that idle ones end at once. A
// Revocation that is lost costs only time: the next Question of a revoked session
// is answered with End.
type Revocation struct {
	Tenant   string // empty, never on the wire: everybody
	Account  string // empty: all accounts of the tenant
	Position uint64
	LogID    string
}
