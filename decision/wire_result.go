package decision

import "encoding/binary"

// A Result answers a Request and has the same Kind.
type Result struct {
	Kind      RequestKind
	Verdict   Verdict
	Admission Admission
	Opening   Opening
}

// AppendVerdict appends a verdict without LogID and Freshness. The enclosing
// message carries the log id once, and the Asker sets Freshness.
func AppendVerdict(dst []byte, v *Verdict) []byte {
	dst = append(dst, byte(tagVerdict), byte(v.Effect), byte(v.Reason))
	dst = binary.AppendUvarint(dst, v.Position)
	return appendText(dst, v.Permission)
}

// DecodeVerdict decodes a verdict from the front of b and returns the remaining
// bytes. It does not change LogID and Freshness. An undecided verdict is an error.
func DecodeVerdict(b []byte, v *Verdict) (rest []byte, err error) {
	r := reader{b: b}
	r.tag(tagVerdict, "verdict")
	v.Effect = Effect(r.byte("effect"))
	v.Reason = Reason(r.byte("reason"))
	v.Position = r.number("position")
	v.Permission = keep(v.Permission, r.text(maxPermission, "permission"))
	switch {
	case v.Effect == Undecided || v.Effect >= numEffects:
		r.fail("effect")
	case v.Reason >= numReasons:
		r.fail("reason")
	}
	return r.b, r.err()
}

// AppendAdmission appends an admission without LogID and Freshness, like
// AppendVerdict.
func AppendAdmission(dst []byte, a *Admission) []byte {
	flags := boolByte(a.Known)
	if a.Known && a.MaxSessions > 0 {
		flags |= flagLimited
	}
	dst = append(dst, byte(tagAdmission), flags)
	dst = binary.AppendUvarint(dst, a.Position)
	if !a.Known {
		return dst
	}
	dst = appendText(dst, a.Tenant)
	dst = appendText(dst, a.Domain)
	if a.MaxSessions > 0 {
		dst = binary.AppendUvarint(dst, a.MaxSessions)
	}
	dst = binary.AppendUvarint(dst, uint64(len(a.Backends)))
	for i := range a.Backends {
		security := byte(a.Backends[i].Security)
		if a.Backends[i].Proxy {
			security |= flagProxy
		}
		dst = append(dst, security)
		dst = appendText(dst, a.Backends[i].Address)
	}
	return dst
}

// DecodeAdmission decodes an admission from the front of b and returns the
// remaining bytes. It does not change LogID and Freshness. It allocates new
// Backends.
func DecodeAdmission(b []byte, a *Admission) (rest []byte, err error) {
	r := reader{b: b}
	r.tag(tagAdmission, "admission")
	flags := r.flags(flagKnown|flagLimited, "known")
	*a = Admission{LogID: a.LogID, Freshness: a.Freshness, Known: flags&flagKnown != 0}
	a.Position = r.number("position")
	if !a.Known {
		if flags != 0 {
			r.fail("known")
		}
		return r.b, r.err()
	}
	a.Tenant = string(r.tenant())
	domain := r.address("domain")
	if r.wrong == "" && (domain.HasLocal() || domain.HasResource()) {
		r.fail("domain")
	}
	a.Domain = domain.String()
	if flags&flagLimited != 0 {
		if a.MaxSessions = r.number("sessions"); a.MaxSessions == 0 {
			r.fail("sessions")
		}
	}
	n := r.count(maxBackends, "backends")
	for range n {
		how := r.byte("security")
		s := Security(how &^ flagProxy)
		if !s.Valid() {
			r.fail("security")
		}
		address := string(r.text(maxBackend, "backend"))
		if address == "" {
			r.fail("backend")
		}
		if r.wrong != "" {
			break
		}
		a.Backends = append(a.Backends, Backend{Address: address, Security: s, Proxy: how&flagProxy != 0})
	}
	return r.b, r.err()
}

// AppendOpening appends an opening without LogID and Freshness, like
// AppendVerdict.
func AppendOpening(dst []byte, o *Opening) []byte {
	dst = append(dst, byte(tagOpening), boolByte(o.Allowed))
	return binary.AppendUvarint(dst, o.Position)
}

// DecodeOpening decodes an opening from the front of b and returns the remaining
// bytes. It does not change LogID and Freshness.
func DecodeOpening(b []byte, o *Opening) (rest []byte, err error) {
	r := reader{b: b}
	r.tag(tagOpening, "opening")
	o.Allowed = r.bool("allowed")
	o.Position = r.number("position")
	return r.b, r.err()
}

// AppendRevocation appends a revocation, which is a whole message.
func AppendRevocation(dst []byte, e *Revocation) []byte {
	dst = appendText(append(dst, byte(tagRevocation)), e.Tenant)
	dst = appendText(dst, e.Account)
	dst = appendText(dst, e.LogID)
	return binary.AppendUvarint(dst, e.Position)
}

// DecodeRevocation decodes a message that is exactly one revocation.
func DecodeRevocation(b []byte, e *Revocation) error {
	r := reader{b: b}
	r.tag(tagRevocation, "revocation")
	e.Tenant = string(r.tenant())
	e.Account = ""
	if len(r.b) > 0 && r.b[0] == 0 {
		r.b = r.b[1:]
	} else if a := r.address("account"); a.HasLocal() && !a.HasResource() {
		e.Account = a.String()
	} else {
		r.fail("account")
	}
	e.LogID = string(r.text(maxLogID, "log id"))
	e.Position = r.number("position")
	return r.end()
}

// end verifies that no bytes remain.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.fail("trailing bytes")
	}
	return r.err()
}

func (r *reader) bool(field string) bool {
	return r.flags(1, field) == 1
}

func boolByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendResult(dst []byte, r *Result) []byte {
	switch r.Kind {
	case Admit:
		return AppendAdmission(dst, &r.Admission)
	case Open:
		return AppendOpening(dst, &r.Opening)
	}
	return AppendVerdict(dst, &r.Verdict)
}

func decodeResult(b []byte, r *Result) (rest []byte, err error) {
	if len(b) > 0 {
		switch tag(b[0]) {
		case tagVerdict:
			r.Kind = Ask
			return DecodeVerdict(b, &r.Verdict)
		case tagAdmission:
			r.Kind = Admit
			return DecodeAdmission(b, &r.Admission)
		case tagOpening:
			r.Kind = Open
			return DecodeOpening(b, &r.Opening)
		}
	}
	return nil, &MalformedError{Field: "result"}
}
