package api

// A PlanReply lists the changes that a policy would make to a tenant. Nothing has
// been changed yet.
type PlanReply struct {
	Position uint64 `json:"position"`
	// LogID is the id of the log that TenantVersion belongs to.
	LogID  string `json:"log_id,omitempty"`
	Tenant string `json:"tenant"`
	// TenantVersion is the version that the tenant must have when the plan is
	// applied. It is 0 if the tenant does not exist; the policy would then create it.
	TenantVersion uint64       `json:"tenant_version"`
	Changes       []PlanChange `json:"changes"`
	Effective     Effective    `json:"effective"`
	Warnings      []string     `json:"warnings"`
}

// A PlanChange is one change of a plan.
type PlanChange struct {
	// Op is + for an addition, - for a removal, and ~ for a change.
	Op string `json:"op"`
	// Type is the type of the event, as in a LogEvent.
	Type string `json:"type"`
	What string `json:"what"` // in words, one line
	// Was describes, for a change, the event that would restore the earlier state.
	Was string `json:"was,omitempty"`
}

// An Effective lists the accounts that gain or lose permissions, and those whose
// sessions end.
type Effective struct {
	// Permissions are the changes through the accounts' roles. Suspended and removed
	// accounts count as having no permissions.
	Permissions []EffectiveGroup `json:"permissions"`
	// Secondary are the changes through the accounts' secondary roles.
	Secondary []EffectiveGroup `json:"secondary"`
	// Sessions are the accounts whose sessions end.
	Sessions []EffectiveEnding `json:"sessions"`
	// Incomplete is set if there were too many permissions outside the catalogue.
	// They are then left out.
	Incomplete bool `json:"incomplete"`
}

// An EffectiveGroup is a group of accounts that gain and lose the same permissions.
type EffectiveGroup struct {
	Role string   `json:"role,omitempty"` // the secondary role
	Gain []string `json:"gain"`
	Lose []string `json:"lose"`
	EffectiveAccounts
}

// An EffectiveEnding is a group of accounts whose sessions end for the same reason.
type EffectiveEnding struct {
	Why string `json:"why"` // in words
	EffectiveAccounts
}

// EffectiveAccounts is a set of accounts: the members, and all accounts without an
// entry of the domains.
type EffectiveAccounts struct {
	// MemberCount is the number of members, and Members are the first 10,000 of them.
	MemberCount int      `json:"member_count"`
	Members     []string `json:"members"`
	// Domains are the domains whose accounts without an entry all belong to the set.
	Domains []string `json:"domains"`
}

// A PolicyReply is a tenant in the form of a policy. Applying the policy to the
// tenant changes nothing.
type PolicyReply struct {
	AsOf
	Position      uint64      `json:"position"`
	Tenant        string      `json:"tenant"`
	TenantVersion uint64      `json:"tenant_version"`
	Policy        TenantApply `json:"policy"`
	// SuspendedByOperator are the domains and accounts that only an operator may
	// resume. A policy from any other caller must not set their suspended to false.
	SuspendedByOperator []string `json:"suspended_by_operator"`
}
