package projections

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// The reasons for which Decode refuses an encoding.
var (
	// ErrFormat means that the encoding has another version of the format, or
	// was written under another catalogue of permissions. The caller must fold
	// the log instead.
	ErrFormat = errors.New("encoded by another version")
	// ErrMalformed means that Encode cannot have written the encoding.
	ErrMalformed = errors.New("malformed")
)

// Decode reads a View that Encode wrote. It accepts nothing else: every View it
// returns encodes to the same bytes again. Decode compiles the roles
// again, so the View gives the same answers as the encoded View.
func Decode(r io.Reader) (*View, error) {
	d := decoder{r: bufio.NewReaderSize(r, 1<<16), by: new(owner), view: New()}
	d.header()
	section := d.section()
	if section == sectionTenants {
		d.tenants()
		section = d.section()
	}
	section = d.installation(section)
	if section != endOfSections {
		d.fail("section %d is unknown or out of order", section)
	}
	if d.err == nil {
		if _, err := d.r.ReadByte(); err == nil {
			d.fail("further bytes after the end")
		} else if err != io.EOF {
			d.err = err
		}
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode a view: %w", d.err)
	}
	d.view.trim(d.by)
	return d.view, nil
}

// decoder keeps its first error. From then on every number it reads is zero and
// every text empty, so that all loops end.
type decoder struct {
	r    *bufio.Reader
	by   *owner
	view *View
	err  error
	// buf is the last text read.
	buf []byte
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
}

// read reads len(p) bytes into p.
func (d *decoder) read(p []byte) {
	if d.err != nil {
		return
	}
	if _, err := io.ReadFull(d.r, p); err != nil {
		d.cut(err)
	}
}

// cut records an error of the reader. An input that ends too early is malformed.
func (d *decoder) cut(err error) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		d.fail("it ends early")
		return
	}
	d.err = err
}

// number reads a varint. It refuses a value greater than most, and a varint that
// is not in its shortest form.
func (d *decoder) number(most uint64) uint64 {
	if d.err != nil {
		return 0
	}
	var n uint64
	for shift := 0; ; shift += 7 {
		b, err := d.r.ReadByte()
		if err != nil {
			d.cut(err)
			return 0
		}
		if shift == 63 && b > 1 || shift > 0 && b == 0 {
			d.fail("a number that is too long, or not in its shortest form")
			return 0
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	if n > most {
		d.fail("%d where at most %d is allowed", n, most)
		return 0
	}
	return n
}

// section reads the number of the next section.
func (d *decoder) section() uint64 { return d.number(math.MaxUint64) }

// enum reads the value of an enum by its number.
func enum[E events.Enum](d *decoder) E { return known[E](d, d.number(math.MaxUint8)) }

// known returns the value of an enum that has number n. It refuses a number
// that this version does not know.
func known[E events.Enum](d *decoder, n uint64) E {
	v := E(n)
	if !v.Valid() {
		d.fail("%d is not a value of %T", n, v)
		return 0
	}
	return v
}

// position reads a position. It must be between least and the View's position.
func (d *decoder) position(least events.Position) events.Position {
	p := events.Position(d.number(uint64(d.view.position)))
	if p < least {
		d.fail("position %d where at least %d is allowed", p, least)
	}
	return p
}

// bytes reads a text. Its length must not exceed most bytes. The next call of
// bytes or text overwrites the result.
func (d *decoder) bytes(most uint64) []byte {
	n := int(d.number(most))
	if cap(d.buf) < n {
		d.buf = make([]byte, n)
	}
	d.buf = d.buf[:n]
	d.read(d.buf)
	if d.err != nil {
		return nil
	}
	return d.buf
}

// text reads a text. It cannot be longer than the commit that it came from.
func (d *decoder) text() string { return string(d.bytes(events.MaxSize)) }

// each reads the count of a list, which must not exceed most. It then calls
// element once for each element, up to the first error.
func (d *decoder) each(most uint64, element func()) {
	for range d.number(most) {
		if element(); d.err != nil {
			return
		}
	}
}

func (d *decoder) texts() (list []string) {
	d.each(math.MaxInt32, func() { list = append(list, d.text()) })
	return list
}

// ref reads a role's number. The tenant must have a role with that number.
func (d *decoder) ref(t *Tenant) roleRef {
	r := roleRef(d.number(maxRoles))
	if r == 0 || int(r) > len(t.roles) || t.roles[r-1] == nil {
		d.fail("no role has number %d", r)
		return 0
	}
	return r
}

func (d *decoder) header() {
	var start [len(magic) + 32]byte
	d.read(start[:])
	catalogue := catalogueHash()
	if d.err == nil && string(start[:]) != magic+string(catalogue[:]) {
		d.err = ErrFormat
	}
	d.view.position = events.Position(d.number(math.MaxUint64))
	d.view.micros = int64(d.number(math.MaxInt64))
	if d.view.position == 0 && d.view.micros != 0 {
		d.fail("a time before the first commit")
	}
}

// tenants reads the section of tenants. A commit belongs to one tenant only, so
// the versions of all tenants add up to at most the View's position. This bounds
// the number of tenants.
func (d *decoder) tenants() {
	v := d.view
	left := uint64(v.position)
	last := ""
	d.each(left, func() {
		t := d.tenant(left)
		if d.err == nil && t.id <= last {
			d.fail("tenant %q is out of order after %q", t.id, last)
		}
		if d.err != nil {
			return
		}
		left -= t.version
		last = t.id
		v.tenants.put(d.by, maphash.String(v.seed, t.id), t.id, t)
	})
	if d.err == nil && v.tenants.len == 0 {
		d.fail("an empty section of tenants")
	}
}

func (d *decoder) tenant(versions uint64) *Tenant {
	t := &Tenant{seed: d.view.seed, by: d.by}
	t.id = d.text()
	t.name = d.text()
	if t.version = d.number(versions); t.version == 0 {
		d.fail("version 0")
	}
	t.revokedAt = d.position(1)
	has := d.number(bitRemoved | bitTenantSuspended | bitTenantLimited | bitTenantSettings)
	if has == bitRemoved {
		t.removed = true
		return t
	}
	if has&bitRemoved != 0 {
		d.fail("a removed tenant that is suspended, limited or has settings")
	}
	t.suspended = has&bitTenantSuspended != 0
	if has&bitTenantLimited != 0 {
		if t.maxSessions = d.number(math.MaxUint64); t.maxSessions == 0 {
			d.fail("a limit of no sessions")
		}
	}
	t.settings = d.settings(firstSettings, has&bitTenantSettings != 0)
	t.ceiling = d.texts()
	t.ceilingMask = maskOf(t.ceiling)
	d.roles(t)
	last := ""
	d.each(math.MaxInt32, func() {
		last = d.host(t, last)
	})
	if d.err != nil {
		d.err = fmt.Errorf("tenant %q: %w", t.id, d.err)
	}
	return t
}

// roles reads the role table. A role's parents may have higher numbers than the
// role, so the parents are checked after all roles have been read.
func (d *decoder) roles(t *Tenant) {
	t.roleTable = d.view.base
	builtin := len(t.roles)
	revokedAt := make([]events.Position, builtin)
	changed := len(t.ceiling) > 0
	for i := range builtin {
		allow, deny := d.texts(), d.texts()
		revokedAt[i] = d.position(0)
		if allow == nil && deny == nil && revokedAt[i] == 0 {
			continue
		}
		r := *t.roles[i]
		r.allow, r.deny = allow, deny
		t.roles = slices.Clone(t.roles)
		t.roles[i] = &r
		changed = true
	}
	d.each(maxRoles, func() {
		n := int(d.number(maxRoles))
		if n <= len(revokedAt) {
			d.fail("role number %d is out of order after %d", n, len(revokedAt))
			return
		}
		if !changed || len(revokedAt) == builtin {
			t.roles = slices.Clone(t.roles)
		}
		changed = true
		revokedAt = append(revokedAt, make([]events.Position, n-len(revokedAt))...)
		t.roles = append(t.roles, make([]*role, n-len(t.roles))...)
		t.roles[n-1], revokedAt[n-1] = d.customRole(), d.position(0)
		d.nameRole(t, roleRef(n))
	})
	if d.err != nil || !changed {
		return
	}
	for _, r := range t.roles {
		if r == nil {
			continue
		}
		for _, p := range r.parents {
			if p == 0 || int(p) > len(t.roles) || t.roles[p-1] == nil {
				d.fail("role %q inherits from number %d, which no role has", r.name, p)
				return
			}
		}
	}
	t.compiled = nil
	if err := t.compile(0); err != nil {
		d.fail("%v", err)
		return
	}
	for i := range t.compiled {
		t.compiled[i].revokedAt = revokedAt[i]
	}
}

func (d *decoder) customRole() *role {
	r := &role{name: d.text()}
	d.each(math.MaxInt32, func() { r.parents = append(r.parents, roleRef(d.number(maxRoles))) })
	r.allow, r.deny = d.texts(), d.texts()
	return r
}

// nameRole adds a custom role to byName. The name must be free.
func (d *decoder) nameRole(t *Tenant, ref roleRef) {
	name := t.roles[ref-1].name
	if d.err != nil {
		return
	}
	if name == "" || permission.IsReserved(name) {
		d.fail("%q is not a custom role's name", name)
		return
	}
	if _, err := t.roleNamed(name); err == nil {
		d.fail("two roles are named %q", name)
		return
	}
	t.byName.put(d.by, maphash.String(t.seed, name), name, ref)
}

// host reads a host and returns its name, which must sort after last.
func (d *decoder) host(t *Tenant, last string) string {
	name := d.text()
	if d.err == nil && name <= last {
		d.fail("host %q is out of order after %q", name, last)
	}
	p := host{kind: HostKind(d.number(uint64(Service)))}
	switch p.kind {
	case Elsewhere:
		d.fail("%q is neither a domain nor a service", name)
	case Service:
		t.services++
	case Domain:
		p.domain = &domain{name: name, by: d.by}
		d.domain(t, &p)
		t.listed += p.listed
	}
	if d.err != nil {
		return ""
	}
	v := d.view
	hash := maphash.String(v.seed, name)
	if o, taken := v.owners.get(hash, []byte(name)); taken {
		d.fail("%q is already a %s of tenant %q", name, o.kind, o.tenant)
		return ""
	}
	v.owners.put(d.by, hash, name, ownership{t.id, p.kind})
	t.hosts.put(d.by, hash, name, p)
	return name
}

func (d *decoder) domain(t *Tenant, p *host) {
	has := d.number(bitDomainSuspended | bitDomainByOperator)
	p.suspended, p.byOperator = has&bitDomainSuspended != 0, has&bitDomainByOperator != 0
	if p.byOperator && !p.suspended {
		d.fail("suspended by the operator, but not suspended")
	}
	p.defaultRole = d.ref(t)
	p.revokedAt = d.position(1)
	p.defaultRevokedAt = d.position(0)
	d.each(math.MaxInt32, func() {
		b := events.Backend{Address: d.text()}
		n := d.number(bitProxy<<1 - 1)
		b.Security, b.Proxy = known[events.Security](d, n&^bitProxy), n&bitProxy != 0
		p.backends = append(p.backends, b)
	})
	last := ""
	d.each(math.MaxInt64, func() {
		m := d.member(t)
		if d.err == nil && (m.local <= last || strings.Contains(m.local, "@")) {
			d.fail("member %q is out of order after %q, or no localpart", m.local, last)
		}
		if d.err != nil {
			return
		}
		last = m.local
		d.keep(t, p, m)
	})
	if d.err != nil {
		d.err = fmt.Errorf("domain %q: %w", p.domain.name, d.err)
	}
}

// keep adds a member to its domain and counts it.
func (d *decoder) keep(t *Tenant, p *host, m member) {
	if err := p.members.put(d.by, t.seed, maphash.String(t.seed, m.local), m); err != nil {
		d.fail("%v", err)
		return
	}
	if m.flags&flagListed != 0 {
		p.listed++
	}
	if m.role != 0 || m.secondary != nil {
		if p.uses == nil {
			p.uses = make([]uint32, len(t.roles))
		}
		p.count(m, 1)
	}
}

func (d *decoder) member(t *Tenant) member {
	m := member{local: string(d.bytes(maxLocal))}
	has := d.number(bitListed | bitSuspended | bitRole | bitRevoked | bitSecondary | bitByOperator)
	if has&bitListed != 0 {
		m.flags |= flagListed
	}
	if has&bitSuspended != 0 {
		m.flags |= flagSuspended
	}
	if has&bitByOperator != 0 {
		if has&bitSuspended == 0 {
			d.fail("suspended by the operator, but not suspended")
		}
		m.flags |= flagByOperator
	}
	if has&bitListed == 0 && has&^bitRevoked != 0 {
		d.fail("an account that is not a member has a role or is suspended")
	}
	if has&bitRole != 0 {
		m.role = d.ref(t)
	}
	if has&bitRevoked != 0 {
		m.revokedAt = d.position(1)
	}
	if has&bitSecondary != 0 {
		d.each(maxSecondary, func() { m.secondary = append(m.secondary, d.ref(t)) })
		if d.err == nil && m.secondary == nil {
			d.fail("an empty list of secondary roles")
		}
	}
	return m
}
