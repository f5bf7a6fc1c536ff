package events

// The kinds of subjects that belong to the whole installation. Their events are in
// commits without a tenant and cover no accounts.
const (
	KindToken         Kind = iota + 64 // a token of the admin API
	KindSharedService                  // a service that is local to every tenant
	KindGateway                        // a gateway that may connect to the policy nodes
)
