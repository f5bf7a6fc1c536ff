package projections

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// The encoding of a View. It holds only facts that cannot be computed from
// others. Its order does not depend on hashes, so Views folded from the same
// commits have the same bytes. A number is an unsigned varint in its shortest
// form. A text is written as its length, then its bytes. A list is written as
// its count, then its elements.
// A position is never greater than the position of the View.
//
//	view     magic, catalogue (32 bytes), position, time in µs, sections, 0
//	section  its number, its content; in ascending order; empty ones are left out
//	installation (section 2) version, tokens (list, by id): id, name, scope,
//	         tenant, hash (32 bytes), expires, created, revoked
//	shared services (section 3) list of text, sorted
//	gateways (section 4) list, by id and position: id, public key, added, time in
//	         µs, removed
//	tenants  (section 1) list of tenant, by id
//	tenant   id, name, version, revoked, bits (1 removed, 2 suspended, 4 limited,
//	         8 later settings); a removed tenant ends here. Then: max sessions,
//	         if bit 4 is set; settings, ceiling (list of text), the built-in
//	         roles, custom roles (list), hosts (list, by name)
//	settings the values of presence_without_messages and audit_addresses; then,
//	         if bit 8 of the tenant is set, the later settings that are not 0
//	         (list, by number): number, value
//	built-in allow, deny (lists of text), revoked
//	custom   number, ascending, name, parents (list of role numbers), allow,
//	         deny, revoked
//	host     name, kind; of a domain also: bits (1 suspended, 2 by the
//	         operator), default role, revoked, default revoked, backends (list of
//	         address, security + 4 for a PROXY header), members (list, by localpart)
//	member   localpart, bits (1 listed, 2 suspended, 4 role, 8 revoked,
//	         16 secondary, 32 suspended by the operator); then, each only if its
//	         bit is set: role, revoked, secondary (list of role numbers)
//
// Each kind of fact about the installation has a separate section: see
// installation.go.
const (
	// magic names the format and its version. Decode refuses any other version.
	// A snapshot is never converted, since it can be rebuilt from the log.
	//
	// If a change of the fold makes the same commits give another View, for
	// example one more revocation, the version must change too. Otherwise a
	// node that starts from an old snapshot would decide differently from a
	// node that folds the whole log.
	magic = "postern view 2\n"

	endOfSections  = 0
	sectionTenants = 1 // installation.go has the numbers of the other sections
)

// bitProxy is added to the number of a backend's security, which is smaller.
const bitProxy = 4

// The bits of a tenant, of a domain and of a member.
const (
	bitRemoved         = 1
	bitTenantSuspended = 2
	bitTenantLimited   = 4
	bitTenantSettings  = 8

	bitDomainSuspended  = 1
	bitDomainByOperator = 2

	bitListed     = 1
	bitSuspended  = 2
	bitRole       = 4
	bitRevoked    = 8
	bitSecondary  = 16
	bitByOperator = 32
)

// catalogueHash is the hash of the data from which roles are compiled: the
// permissions, the built-in roles and resets. The positions at which sessions
// were revoked depend on these too. So Decode refuses a View that was folded
// under another catalogue.
func catalogueHash() (sum [sha256.Size]byte) {
	h := sha256.New()
	for p := range permission.All() {
		fmt.Fprintln(h, p.Name())
	}
	for _, b := range permission.BuiltinRoles() {
		fmt.Fprintln(h, b.Name, b.Inherits, b.Gives.Names())
	}
	fmt.Fprintln(h, resets.Names())
	h.Sum(sum[:0])
	return sum
}

// Encode writes the whole View. It writes the same bytes for every View folded
// from the same commits, whether by Apply, a Builder or Decode, and in any
// process. It needs memory to sort the members of one domain at a time.
func (v *View) Encode(w io.Writer) error {
	e := encoder{bufio.NewWriterSize(w, 1<<16)}
	e.w.WriteString(magic)
	catalogue := catalogueHash()
	e.w.Write(catalogue[:])
	e.number(uint64(v.position))
	e.number(uint64(v.micros))
	if v.tenants.len > 0 {
		e.number(sectionTenants)
		e.tenants(v)
	}
	e.installation(&v.installation)
	e.number(endOfSections)
	// The bufio.Writer keeps its first error, which Flush returns.
	if err := e.w.Flush(); err != nil {
		return fmt.Errorf("encode the view of position %d: %w", v.position, err)
	}
	return nil
}

// Hash returns the SHA-256 of the encoding. Equal Views have equal hashes.
func (v *View) Hash() (sum [sha256.Size]byte) {
	h := sha256.New()
	if err := v.Encode(h); err != nil {
		panic("projections: writing to a hash cannot fail: " + err.Error())
	}
	h.Sum(sum[:0])
	return sum
}

type encoder struct{ w *bufio.Writer }

func (e *encoder) number(n uint64) {
	e.w.Write(binary.AppendUvarint(e.w.AvailableBuffer(), n))
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.w.WriteString(s)
}

func (e *encoder) texts(list []string) {
	e.number(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

func (e *encoder) refs(list []roleRef) {
	e.number(uint64(len(list)))
	for _, r := range list {
		e.number(uint64(r))
	}
}

// bits returns the number whose bit i is set if condition i holds.
func bits(conditions ...bool) uint64 {
	var n uint64
	for i, c := range conditions {
		if c {
			n |= 1 << i
		}
	}
	return n
}

func (e *encoder) tenants(v *View) {
	all := maps.Collect(v.tenants.all())
	e.number(uint64(len(all)))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		e.tenant(all[id])
	}
}

func (e *encoder) tenant(t *Tenant) {
	e.text(t.id)
	e.text(t.name)
	e.number(t.version)
	e.number(uint64(t.revokedAt))
	later := laterSettings(t.settings, firstSettings)
	e.number(bits(t.removed, t.suspended, t.maxSessions > 0, len(later) > 0))
	if t.removed {
		return
	}
	if t.maxSessions > 0 {
		e.number(t.maxSessions)
	}
	e.settings(t.settings, firstSettings, later)
	e.texts(t.ceiling)
	e.roles(t)
	names := make([]string, 0, t.hosts.len)
	for name := range t.hosts.all() {
		names = append(names, name)
	}
	slices.Sort(names)
	e.number(uint64(len(names)))
	for _, name := range names {
		p, _ := t.hosts.find(maphash.String(t.seed, name), []byte(name))
		e.host(name, p)
	}
}

func (e *encoder) roles(t *Tenant) {
	builtin := len(permission.BuiltinRoles())
	for i, r := range t.roles[:builtin] {
		e.texts(r.allow)
		e.texts(r.deny)
		e.number(uint64(t.compiled[i].revokedAt))
	}
	e.number(uint64(t.RoleCount()))
	for i, r := range t.roles {
		if i < builtin || r == nil {
			continue
		}
		e.number(uint64(i + 1))
		e.text(r.name)
		e.refs(r.parents)
		e.texts(r.allow)
		e.texts(r.deny)
		e.number(uint64(t.compiled[i].revokedAt))
	}
}

func (e *encoder) host(name string, p *host) {
	e.text(name)
	e.number(uint64(p.kind))
	if p.kind != Domain {
		return
	}
	e.number(bits(p.suspended, p.byOperator))
	e.number(uint64(p.defaultRole))
	e.number(uint64(p.revokedAt))
	e.number(uint64(p.defaultRevokedAt))
	e.number(uint64(len(p.backends)))
	for _, b := range p.backends {
		e.text(b.Address)
		e.number(backendBits(b))
	}
	e.members(&p.members)
}

func (e *encoder) members(m *members) {
	sorted := m.sorted()
	e.number(uint64(len(sorted)))
	for _, s := range sorted {
		e.member(recordAt(s.leaf, s.at))
	}
}

func (e *encoder) member(r record) {
	e.number(uint64(len(r.local)))
	e.w.Write(r.local)
	n := r.secondaryCount()
	e.number(bits(r.flags&flagListed != 0, r.flags&flagSuspended != 0, r.role != 0, r.revokedAt != 0, n > 0, r.flags&flagByOperator != 0))
	if r.role != 0 {
		e.number(uint64(r.role))
	}
	if r.revokedAt != 0 {
		e.number(uint64(r.revokedAt))
	}
	if n > 0 {
		e.number(uint64(n))
		for i := range n {
			e.number(uint64(r.secondary(i)))
		}
	}
}

// sortable is the place of a record in a leaf. prefix is the first bytes of its
// localpart, which decide most comparisons without reading the leaf.
type sortable struct {
	prefix uint64
	leaf   []byte
	at     int
}

// sorted returns every record, sorted by localpart.
func (m *members) sorted() []sortable {
	n := 0
	m.root.leaves(func(leaf packed) bool {
		n += int(leaf.count)
		return true
	})
	list := make([]sortable, 0, n)
	m.root.leaves(func(leaf packed) bool {
		for at, r := range leaf.records {
			var first [8]byte
			copy(first[:], r.local)
			list = append(list, sortable{binary.BigEndian.Uint64(first[:]), leaf.bytes, at})
		}
		return true
	})
	slices.SortFunc(list, func(a, b sortable) int {
		if c := cmp.Compare(a.prefix, b.prefix); c != 0 {
			return c
		}
		return bytes.Compare(recordAt(a.leaf, a.at).local, recordAt(b.leaf, b.at).local)
	})
	return list
}

// backendBits returns a backend's security and its PROXY header as one number.
func backendBits(b events.Backend) uint64 {
	n := uint64(b.Security)
	if b.Proxy {
		n |= bitProxy
	}
	return n
}
