package policy

import (
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// Admit decides whether a domain is served, and by which backends. A domain is
// unknown to clients if it or its tenant is suspended, if it has no backends, or
// if its name is not a domain name.
func Admit(v *projections.View, logID string, name []byte) decision.Admission {
	a := decision.Admission{LogID: logID, Position: uint64(v.Position())}
	domain, err := jid.Domain(string(name))
	if err != nil {
		return a
	}
	t, place := v.Owner([]byte(domain))
	if t == nil || place != projections.Domain || t.Suspended() {
		return a
	}
	info, ok := t.Domain([]byte(domain))
	if !ok || info.Suspended || len(info.Backends) == 0 {
		return a
	}
	a.Known, a.Tenant, a.Domain, a.MaxSessions = true, t.ID(), domain, t.MaxSessions()
	for _, b := range info.Backends {
		s := decision.Security(b.Security) // events and decision use the same numbers
		if !s.Valid() {
			return decision.Admission{LogID: a.LogID, Position: a.Position}
		}
		a.Backends = append(a.Backends, decision.Backend{Address: b.Address, Security: s, Proxy: b.Proxy})
	}
	return a
}

// Open decides whether a session may begin, and returns its opening position.
func Open(v *projections.View, logID string, s *decision.Session) decision.Opening {
	o := decision.Opening{LogID: logID, Position: uint64(v.Position())}
	t := v.Tenant(s.Tenant)
	if t == nil {
		return o
	}
	access, ok := t.Access(s.Account, domainOf(s.Account))
	o.Allowed = ok && !access.Suspended
	return o
}
