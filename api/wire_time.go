package api

import "time"

// This file has the answers to requests about the past.

// A Moment is the state after the commit at Position, which was made at Time.
type Moment struct {
	Position uint64    `json:"position"`
	Time     time.Time `json:"time"`
}

// AsOf says which moment an answer is about.
type AsOf struct {
	// At is absent in an answer about the present.
	At *Moment `json:"at,omitempty"`
}

// A Holding says whether an account has a permission, or a role gives it, and why.
type Holding struct {
	// Known is false if the account or role does not exist.
	Known bool `json:"known"`
	Held  bool `json:"held"`
	// Role is the role that was looked up. RoleIsOwn is set if it is the account's
	// own role and not its domain's default role.
	Role      string `json:"role,omitempty"`
	RoleIsOwn bool   `json:"role_is_own,omitempty"`
	// BarredBy lists which of "tenant", "domain" and "member" are suspended.
	BarredBy []string `json:"barred_by"`
	// BarredByOperator lists those entries of BarredBy that only an operator may
	// resume.
	BarredByOperator []string `json:"barred_by_operator"`
	// Steps are the steps of the look-up. The last step decides.
	Steps []Step `json:"steps"`
}

// A BlameReply says which command last changed whether a permission is held.
type BlameReply struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	AsOf
	// Account or Role is the subject of the request.
	Account    string  `json:"account,omitempty"`
	Role       string  `json:"role,omitempty"`
	Permission string  `json:"permission"`
	Now        Holding `json:"now"`
	// By is the newest command that changed whether the permission is held. It lists
	// only the events that contributed to the change.
	By LogEntry `json:"by"`
	// OtherEvents counts the events of By that are not listed.
	OtherEvents int `json:"other_events"`
	// FromTheBeginning is set if this has not changed since the role was defined, or
	// since the account's domain was added.
	FromTheBeginning bool `json:"from_the_beginning"`
	// Before is the state just before By, and After is the state just after it.
	Before Holding `json:"before"`
	After  Holding `json:"after"`
}

// A DiffReply lists the changes of a tenant between two moments.
type DiffReply struct {
	Position uint64 `json:"position"`
	Tenant   string `json:"tenant"`
	// From and To are the compared moments. At a moment when the tenant did not
	// exist, it counts as empty.
	From      Moment       `json:"from"`
	To        Moment       `json:"to"`
	Changes   []PlanChange `json:"changes"`
	Effective Effective    `json:"effective"`
}
