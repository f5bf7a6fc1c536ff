package negotiate

// Places limits the number of sessions. Its methods must be safe for concurrent
// use.
type Places interface {
	// Take takes a place for a session of account, a prepared bare JID. If
	// there is no place, refusal is the reason, which is safe to show to the
	// client. The tenant may have at most the given number of sessions; 0
	// means that the tenant has no limit.
	Take(tenant, account string, most uint64) (refusal string)
	// Give returns a place.
	Give(tenant, account string)
}

// noPlaces has a place for every session.
type noPlaces struct{}

func (noPlaces) Take(string, string, uint64) string { return "" }
func (noPlaces) Give(string, string)                {}

// place takes a place for the session, unless it has one.
func (x *negotiation) place() (refusal string) {
	if x.placed {
		return ""
	}
	refusal = x.places.Take(x.admission.Tenant, string(x.user.Bytes()), x.admission.MaxSessions)
	x.placed = refusal == ""
	return refusal
}

// vacate returns the place if one was taken.
func (x *negotiation) vacate() {
	if x.placed {
		x.placed = false
		x.places.Give(x.admission.Tenant, string(x.user.Bytes()))
	}
}
