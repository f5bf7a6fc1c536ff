package tenants

// The bounds of what a tenant may hold. They keep a View small, a change cheap
// and a listing readable; none is meant to be met in earnest.
const (
	MaxTenantID    = 32
	MaxDisplayName = 128 // characters
	MaxRoleName    = 64

	MaxDomains  = 10_000 // of one tenant
	MaxServices = 10_000 // of one tenant
	MaxRoles    = 1000   // custom ones, of one tenant
	// MaxMembers is of one tenant: some hundred megabytes in every node.
	MaxMembers = 5_000_000

	// MaxSessions is of one tenant at one gateway, where a limit says so: it is
	// above what a gateway can hold.
	MaxSessions = 1_000_000_000

	MaxBackends    = 16  // of one domain: they are tried in turn
	MaxParents     = 16  // of one role
	MaxDepth       = 32  // of roles inheriting from one another, the role itself counted
	MaxPermissions = 256 // in one list
	MaxSecondary   = 16  // secondary roles of one member

	MaxCommandID = 64
	MaxActor     = 128
	MaxReason    = 512 // characters

	// maxErrors bounds what is said of one command, and its warnings. Who has
	// mended a hundred mistakes may ask again.
	maxErrors = 100

	maxAddress  = 300 // host:port of a backend
	maxHostname = 253 // RFC 1035 section 2.3.4, as text
	maxLabel    = 63
)
