package api

import "time"

// A Session is one bound session of a client, as its gateway tells of it.
type Session struct {
	ID      string `json:"id"`
	Gateway string `json:"gateway"`
	Tenant  string `json:"tenant"`
	// Account is the bare JID, Resource what the server bound for it.
	Account  string `json:"account"`
	Resource string `json:"resource"`
	// Grant is the restricted credential it came in by; absent: none.
	Grant string `json:"grant,omitempty"`
	// Remote is the client's address, TLS the version it came in by, and
	// Mechanism how it authenticated.
	Remote    string `json:"remote"`
	TLS       string `json:"tls,omitempty"`
	Mechanism string `json:"mechanism"`
	// Opened is the position of the log it was opened at.
	Opened uint64    `json:"opened"`
	Since  time.Time `json:"since"`
	Active time.Time `json:"active"` // the last stanza, either way
	// Stanzas from the client, and to it.
	PassedOut  uint64 `json:"passed_out"`
	RefusedOut uint64 `json:"refused_out"`
	PassedIn   uint64 `json:"passed_in"`
	RefusedIn  uint64 `json:"refused_in"`
}

// A SessionList is one page of the live sessions.
type SessionList struct {
	Position uint64    `json:"position"`
	Sessions []Session `json:"sessions"`
	// Next is what to give as after for the next page; absent on the last.
	Next string `json:"next,omitempty"`
	// Missing are the gateways that have not answered, or not credibly. With
	// any, there may be sessions that are not listed.
	Missing []string `json:"missing"`
}

// A SessionReply is one live session.
type SessionReply struct {
	Position uint64  `json:"position"`
	Session  Session `json:"session"`
}

// A SessionEnd ends a session.
type SessionEnd struct {
	// Reason is the actor's own words, kept in the record of calls.
	Reason string `json:"reason,omitempty"`
}

// A SessionEnded says which session was ended.
type SessionEnded struct {
	Session Session `json:"session"`
}
