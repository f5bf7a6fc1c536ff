package tenants

// The bounds on the parts of a tenant and of a command. They keep a View small,
// a change cheap and a listing readable. No tenant should reach them in normal
// use.
const (
	MaxTenantID    = 32
	MaxDisplayName = 128 // characters
	MaxRoleName    = 64

	MaxDomains  = 10_000 // of one tenant
	MaxServices = 10_000 // of one tenant
	MaxRoles    = 1000   // custom ones, of one tenant
	// MaxMembers bounds the members of one tenant: they take some hundred
	// megabytes in every node.
	MaxMembers = 5_000_000

	// MaxSessions bounds the limit of sessions that can be set for a tenant. No
	// gateway can hold as many.
	MaxSessions = 1_000_000_000

	MaxBackends    = 16  // of one domain: they are tried in turn
	MaxParents     = 16  // of one role
	MaxDepth       = 32  // roles in a chain of inheritance, the role itself included
	MaxPermissions = 256 // in one list
	MaxSecondary   = 16  // secondary roles of one member

	MaxCommandID = 64
	MaxActor     = 128
	MaxReason    = 512 // characters

	// maxErrors bounds the errors for one command, and its warnings. After
	// correcting a hundred mistakes an administrator can try again.
	maxErrors = 100

	maxAddress  = 300 // host:port of a backend
	maxHostname = 253 // RFC 1035 section 2.3.4, as text
	maxLabel    = 63
)
