package api

// A PlanReply is what a policy would change of a tenant. Nothing has been
// changed.
type PlanReply struct {
	Position uint64 `json:"position"`
	// LogID names the log that has the version below.
	LogID  string `json:"log_id,omitempty"`
	Tenant string `json:"tenant"`
	// TenantVersion is the version to apply it at; 0 when there is no such
	// tenant: the policy would create it.
	TenantVersion uint64       `json:"tenant_version"`
	Changes       []PlanChange `json:"changes"`
	Effective     Effective    `json:"effective"`
	Warnings      []string     `json:"warnings"`
}

// A PlanChange is one thing that would change.
type PlanChange struct {
	// Op is + for what is added, - for what is removed, ~ for what is changed.
	Op string `json:"op"`
	// Type is the event's, as in a LogEvent.
	Type string `json:"type"`
	What string `json:"what"` // in words, one line
	// Was is, for what changes, what would make it what it was.
	Was string `json:"was,omitempty"`
}

// An Effective is who gains and loses what in the end.
type Effective struct {
	// Permissions is by the roles accounts act with. What is suspended or
	// removed has no permissions.
	Permissions []EffectiveGroup `json:"permissions"`
	// Secondary is by the secondary roles they hold.
	Secondary []EffectiveGroup `json:"secondary"`
	// Sessions is whose sessions end.
	Sessions []EffectiveEnding `json:"sessions"`
	// Incomplete is set when names outside the catalogue were too many to be
	// looked up, and are left out.
	Incomplete bool `json:"incomplete"`
}

// An EffectiveGroup is accounts that gain and lose the same.
type EffectiveGroup struct {
	Role string   `json:"role,omitempty"` // the secondary role
	Gain []string `json:"gain"`
	Lose []string `json:"lose"`
	EffectiveAccounts
}

// An EffectiveEnding is accounts whose sessions end for one reason.
type EffectiveEnding struct {
	Why string `json:"why"` // in words
	EffectiveAccounts
}

// EffectiveAccounts are the accounts something is said of.
type EffectiveAccounts struct {
	// MemberCount is the number of members, Members the first 10,000 of them.
	MemberCount int      `json:"member_count"`
	Members     []string `json:"members"`
	// Domains are those of which every account without an entry is meant.
	Domains []string `json:"domains"`
}

// A PolicyReply is a tenant as a policy: applied to it, it changes nothing.
type PolicyReply struct {
	AsOf
	Position      uint64      `json:"position"`
	Tenant        string      `json:"tenant"`
	TenantVersion uint64      `json:"tenant_version"`
	Policy        TenantApply `json:"policy"`
	// SuspendedByOperator are the domains and accounts that only an operator
	// may resume: for anybody else the policy must not say that they are not
	// suspended.
	SuspendedByOperator []string `json:"suspended_by_operator"`
}
