package negotiate

// Places has room for so many sessions. Its methods are called by many
// connections at once.
type Places interface {
	// Take takes a place for a session of an account, a prepared bare JID, unless
	// there is none; refusal says why, and is safe to show to the client. The
	// tenant may have so many sessions at most; 0: as many as there is room for.
	Take(tenant, account string, most uint64) (refusal string)
	// Give gives a place back.
	Give(tenant, account string)
}

// noPlaces has room for all.
type noPlaces struct{}

func (noPlaces) Take(string, string, uint64) string { return "" }
func (noPlaces) Give(string, string)                {}

// place takes a place for the session, if it has none yet.
func (x *negotiation) place() (refusal string) {
	if x.placed {
		return ""
	}
	refusal = x.places.Take(x.admission.Tenant, string(x.user.Bytes()), x.admission.MaxSessions)
	x.placed = refusal == ""
	return refusal
}

// vacate gives back the place that was taken.
func (x *negotiation) vacate() {
	if x.placed {
		x.placed = false
		x.places.Give(x.admission.Tenant, string(x.user.Bytes()))
	}
}
