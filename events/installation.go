package events

// The kinds of what belongs to the installation as a whole. Their events are in
// commits without a tenant, and cover no accounts.
const (
	KindToken         Kind = iota + 64 // of the admin API
	KindSharedService                  // local to every tenant
)
