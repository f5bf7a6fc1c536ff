package api

import "time"

// What the past is answered with.

// A Moment is a place in the log: what was so after the commit at Position,
// which was made at Time.
type Moment struct {
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
}

// AsOf says when an answer was true, where it was asked for a time past.
type AsOf struct {
	// At is absent in an answer about the present.
	At *Moment `json:"at,omitempty"`
}

// A Holding is whether an account has a permission, or a role gives it, and
// what that rests on.
type Holding struct {
	// Known is false where there is no such account or role.
	Known bool `json:"known"`
	Held  bool `json:"held"`
	// Role is the role asked; RoleIsOwn is set where it is the account's own
	// and not its domain's default.
	Role      string `json:"role,omitempty"`
	RoleIsOwn bool   `json:"role_is_own,omitempty"`
	// BarredBy says what of "tenant", "domain" and "member" is suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator is what of BarredBy only an operator may resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// Steps are those of the look-up; the last one decides.
	Steps []Step `json:"steps"`
}

// A BlameReply says which command made an answer what it is.
type BlameReply struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	AsOf
	// Account or Role is what was asked about.
	Account    string  `json:"account,omitempty"`
	Role       string  `json:"role,omitempty"`
	Permission string  `json:"permission"`
	Now        Holding `json:"now"`
	// By is the newest command that changed whether the permission is held,
	// with those of its events that had to do with it.
	By LogEntry `json:"by"`
	// OtherEvents counts the events of By that are not listed.
	OtherEvents int `json:"other_events"`
	// FromTheBeginning is set where it has been so since there is such an
	// account (its domain was added) or such a role.
	FromTheBeginning bool `json:"from_the_beginning"`
	// Before is what was so before By, After at once after it.
	Before Holding `json:"before"`
	After  Holding `json:"after"`
}

// A DiffReply is what changed of a tenant between two moments.
type DiffReply struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	// From and To are the moments compared. Where the tenant did not exist
	// yet, or had been removed, it is compared with nothing.
	From      Moment       `json:"from"`
	To        Moment       `json:"to"`
	Changes   []PlanChange `json:"changes"`
	Effective Effective    `json:"effective"`
}
