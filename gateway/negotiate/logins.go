package negotiate

import "net"

// Logins limits clients' log-in attempts and is notified of failed ones. Its
// methods must be safe for concurrent use.
type Logins interface {
	// Limited returns the name of the limit that forbids asking the
	// backend about l, or "" if none does.
	Limited(l Login) (limit string)
	// Failed is called when an attempt has failed. l.Condition is the reason.
	Failed(l Login)
}

// A Login is a log-in attempt of a client: one SASL exchange.
type Login struct {
	// Remote is the client's address.
	Remote net.Addr
	// Account is the bare JID that the client claims to be, prepared. It is
	// empty if the client named no address that can be prepared.
	Account string
	// Domain is the domain of the stream, prepared. Tenant is its tenant.
	Domain, Tenant string
	// Mechanism is the client's mechanism, if the backend offers it and the
	// gateway relays it; otherwise it is empty.
	Mechanism string
	// Condition is the SASL failure sent to the client (RFC 6120 section 6.5).
	Condition string
	// Limit is the result of Limited. It is empty if the backend was asked, or
	// if the client's message was not valid.
	Limit string
}

// noLogins is a Logins without limits.
type noLogins struct{}

func (noLogins) Limited(Login) string { return "" }
func (noLogins) Failed(Login)         {}
