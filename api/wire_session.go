package api

import "time"

// A Session is one bound session of a client, as reported by its gateway.
type Session struct {
	ID      string `json:"id"`
	Gateway string `json:"gateway"`
	Tenant  string `json:"tenant"`
	// Account is the bare JID, and Resource is the resource that the server bound.
	Account  string `json:"account"`
	Resource string `json:"resource"`
	// Grant is the restricted credential that the client authenticated with. It is
	// absent for an ordinary password.
	Grant string `json:"grant,omitempty"`
	// Remote is the client's address, TLS is the TLS version, and Mechanism is the
	// SASL mechanism.
	Remote    string `json:"remote"`
	TLS       string `json:"tls,omitempty"`
	Mechanism string `json:"mechanism"`
	// Opened is the position of the log at which the session was opened.
	Opened uint64    `json:"opened"`
	Since  time.Time `json:"since"`
	Active time.Time `json:"active"` // the last stanza in either direction
	// PassedOut and RefusedOut count stanzas from the client; PassedIn and RefusedIn
	// count stanzas to the client.
	PassedOut  uint64 `json:"passed_out"`
	RefusedOut uint64 `json:"refused_out"`
	PassedIn   uint64 `json:"passed_in"`
	RefusedIn  uint64 `json:"refused_in"`
}

// A SessionList is one page of the live sessions.
type SessionList struct {
	Position uint64    `json:"position"`
	Sessions []Session `json:"sessions"`
	// Next is the value of the query parameter after for the next page. It is absent
	// on the last page.
	Next string `json:"next,omitempty"`
	// Missing are the gateways without a credible answer. If there are any, the list
	// may be incomplete.
	Missing []string `json:"missing"`
}

// A SessionReply is one live session.
type SessionReply struct {
	Position uint64  `json:"position"`
	Session  Session `json:"session"`
}

// A SessionEnd ends a session.
type SessionEnd struct {
	// Reason is the actor's own explanation, kept in the record of the call.
	Reason string `json:"reason,omitempty"`
}

// A SessionEnded has the session that was ended.
type SessionEnded struct {
	Session Session `json:"session"`
}
