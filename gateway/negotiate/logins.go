package negotiate

import "net"

// Logins hears of clients' attempts to log in, and limits them. Its methods are
// called by many connections at once.
type Logins interface {
	// Limited says which limit keeps the backend from being asked about l;
	// empty: none does.
	Limited(l Login) (limit string)
	// Failed takes note of an attempt that has failed, l.Condition says how.
	Failed(l Login)
}

// A Login is a client's attempt to log in: one SASL exchange.
type Login struct {
	// Remote is the client's address.
	Remote net.Addr
	// Account is the bare JID the client claims to be, prepared; empty: it has
	// named none that could be prepared.
	Account string
	// Domain is the stream's, prepared, and Tenant is its tenant.
	Domain, Tenant string
	// Mechanism is one that the backend offers and that is relayed; empty: the
	// client has named none.
	Mechanism string
	// Condition is the client's SASL failure (RFC 6120 section 6.5).
	Condition string
	// Limit is what Limited said; empty: the backend was asked, or what the
	// client sent was not fit to be asked about.
	Limit string
}

// noLogins limits nothing.
type noLogins struct{}

func (noLogins) Limited(Login) string { return "" }
func (noLogins) Failed(Login)         {}
