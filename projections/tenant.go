package projections

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// A Tenant is one customer's domains, services, roles and members. Like the
// View it belongs to it never changes.
type Tenant struct {
	// What an Access reads stands first, in as few cache lines as possible.
	seed      maphash.Seed
	places    table[place]
	revokedAt events.Position
	suspended bool
	removed   bool
	settings  events.Settings
	services  int32
	roleTable

	id, name    string
	version     uint64
	ceiling     []string
	ceilingMask permission.Set
	maxSessions uint64
	listed      int // members of all domains
	by          *owner
}

// ID is the tenant's id.
func (t *Tenant) ID() string { return t.id }

// Name is the tenant's display name.
func (t *Tenant) Name() string { return t.name }

// Version counts the tenant's commits.
func (t *Tenant) Version() uint64 { return t.version }

// Suspended reports whether the tenant as a whole is suspended.
func (t *Tenant) Suspended() bool { return t.suspended }

// Settings returns the tenant's settings.
func (t *Tenant) Settings() events.Settings { return t.settings }

// Ceiling lists what no role of the tenant can give, as it was set. The
// caller must not change it.
func (t *Tenant) Ceiling() []string { return t.ceiling }

// CeilingSet is the ceiling's part that stands in the catalogue.
func (t *Tenant) CeilingSet() permission.Set { return t.ceilingMask }

// MaxSessions is how many sessions the tenant may have at each gateway; 0: as
// many as there is room for.
func (t *Tenant) MaxSessions() uint64 { return t.maxSessions }

// HostKind says what a domain is to this tenant by what it has itself. Whether an
// address is local goes by View.HostKindFor, which knows shared services too.
func (t *Tenant) HostKind(domain []byte) HostKind {
	p, _ := t.places.get(maphash.Bytes(t.seed, domain), domain)
	return p.kind
}

// Services lists the tenant's services, sorted.
func (t *Tenant) Services() []string {
	names := make([]string, 0, t.ServiceCount())
	for name, p := range t.places.all() {
		if p.kind == Service {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// An Access is what an account may do, and since when its sessions must have
// been opened.
type Access struct {
	// Role is the name of the primary role: the member's own, or else the
	// default role of its domain.
	Role string
	// Effective is what the role gives and the ceiling leaves.
	Effective permission.Set
	// RevokedAt is the newest position at which sessions of this account were
	// revoked: a session opened at an older position has ended.
	RevokedAt events.Position
	// Suspended is set while the tenant, the domain or the member is.
	Suspended bool
}

// Access looks an account up. account is a prepared bare JID, domain its
// domainpart. It is false when the domain is none of the tenant's, or the
// account none of the domain.
func (t *Tenant) Access(account, domain []byte) (Access, bool) {
	d, ok := t.places.find(maphash.Bytes(t.seed, domain), domain)
	if !ok || d.kind != Domain {
		return Access{}, false
	}
	local, ok := localOf(account, domain)
	if !ok {
		return Access{}, false
	}
	m := d.members.find(maphash.Bytes(t.seed, local), local)
	role := m.role
	revokedAt := max(t.revokedAt, d.revokedAt, m.revokedAt)
	if role == 0 {
		role = d.defaultRole
		revokedAt = max(revokedAt, d.defaultRevokedAt)
	}
	r := &t.compiled[role-1]
	return Access{
		Role:      r.name,
		Effective: r.effective,
		RevokedAt: max(revokedAt, r.revokedAt),
		Suspended: t.suspended || d.suspended || m.flags&flagSuspended != 0,
	}, true
}

// applyTenant folds the events about the tenant itself.
func (ch *change) applyTenant(e events.Event) error {
	t := ch.tenant
	switch e := e.(type) {
	case events.TenantCreated:
		if t.created() {
			return errNotNew
		}
		t.name, t.revokedAt = strings.Clone(e.Name), ch.position
	case events.TenantRenamed:
		t.name = strings.Clone(e.Name)
	case events.TenantSuspended:
		t.suspended, t.revokedAt = true, ch.position
	case events.TenantResumed:
		t.suspended = false
	case events.TenantRemoved:
		for name := range t.places.all() {
			ch.disown(name)
		}
		*t = Tenant{seed: t.seed, id: t.id, name: t.name, version: t.version, removed: true, revokedAt: ch.position, by: t.by}
	case events.SettingsChanged:
		t.settings = events.Settings(e)
	case events.CeilingSet:
		t.ceiling, t.ceilingMask = kept(e.Permissions), maskOf(e.Permissions)
		ch.recompile = true
	case events.TenantLimitsSet:
		t.maxSessions = e.MaxSessions
	default:
		return errUnknown
	}
	return nil
}

// applyDomain folds the events about a domain.
func (ch *change) applyDomain(e events.Event) error {
	switch e := e.(type) {
	case events.DomainAdded:
		return ch.addDomain(e)
	case events.DomainBackendsSet:
		return ch.editDomain(e.Domain, func(d *place) error {
			d.backends = keptBackends(e.Backends)
			return nil
		})
	case events.DomainDefaultRoleSet:
		return ch.editDomain(e.Domain, func(d *place) error { return ch.setDefaultRole(d, e.Role) })
	case events.DomainSuspended:
		return ch.editDomain(e.Domain, func(d *place) error {
			d.suspended, d.byOperator, d.revokedAt = true, d.byOperator || e.ByOperator, ch.position
			return nil
		})
	case events.DomainResumed:
		return ch.editDomain(e.Domain, func(d *place) error {
			d.suspended, d.byOperator = false, false
			return nil
		})
	case events.DomainRemoved:
		return ch.removePlace(e.Domain, Domain)
	}
	return errUnknown
}

// applyService folds the events about a service.
func (ch *change) applyService(e events.Event) error {
	switch e := e.(type) {
	case events.ServiceAdded:
		return ch.addPlace(strings.Clone(e.Service), place{kind: Service})
	case events.ServiceRemoved:
		return ch.removePlace(e.Service, Service)
	}
	return errUnknown
}

// trim is View.trim for one tenant, which is its owner's.
func (t *Tenant) trim(by *owner) {
	t.places.trim(by)
	t.places.root.owned(by, func(leaf *[]slot[place]) {
		for i := range *leaf {
			(*leaf)[i].value.members.trim(by)
		}
	})
}

// created reports whether TenantCreated was applied: a tenant ends sessions
// older than itself, so its revokedAt is never zero.
func (t *Tenant) created() bool { return t.revokedAt > 0 }

// DomainInfo is one XMPP host of a tenant, as it is listed.
type DomainInfo struct {
	Name        string
	DefaultRole string
	Backends    []events.Backend // in the order to try; not to be changed
	Suspended   bool
	ByOperator  bool // with Suspended: only an operator may undo it
	Members     int  // accounts with a member entry
}

// place is a domain or a service of one tenant; a service has its kind only.
// What an Access reads is in the value itself: it stands in the table's leaf.
type place struct {
	kind             HostKind
	suspended        bool
	byOperator       bool // with suspended
	defaultRole      roleRef
	members          members
	revokedAt        events.Position
	defaultRevokedAt events.Position // ends sessions of accounts without a role of their own
	*domain
}

// domain is the rest of what is known of an XMPP host. Once in a View it
// never changes.
type domain struct {
	// What each change of a member needs stands first, in one cache line.
	by     *owner // made this and uses
	listed int
	// uses counts, by role, how often members hold it, so that a role in use
	// is known without reading all members.
	uses     []uint32
	name     string
	backends []events.Backend
}

// Domain returns one domain of the tenant.
func (t *Tenant) Domain(name []byte) (DomainInfo, bool) {
	p, ok := t.places.get(maphash.Bytes(t.seed, name), name)
	if !ok || p.kind != Domain {
		return DomainInfo{}, false
	}
	return t.info(&p), true
}

func (t *Tenant) info(d *place) DomainInfo {
	return DomainInfo{d.name, t.roleName(d.defaultRole), d.backends, d.suspended, d.byOperator, d.listed}
}

// Domains yields the tenant's domains in the order of their names.
func (t *Tenant) Domains() iter.Seq[DomainInfo] {
	list := t.domainList()
	return func(yield func(DomainInfo) bool) {
		for i := range list {
			if !yield(t.info(&list[i])) {
				return
			}
		}
	}
}

// DomainCount is the number of domains.
func (t *Tenant) DomainCount() int { return t.places.len - t.ServiceCount() }

// ServiceCount is the number of services.
func (t *Tenant) ServiceCount() int { return int(t.services) }

// domainList is the domains, sorted by name.
func (t *Tenant) domainList() []place {
	list := make([]place, 0, t.DomainCount())
	for _, p := range t.places.all() {
		if p.kind == Domain {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b place) int { return strings.Compare(a.name, b.name) })
	return list
}

// disown takes a place out of the table of owners.
func (ch *change) disown(name string) {
	v := ch.view
	v.owners.remove(ch.by, maphash.String(v.seed, name), name)
}

// addPlace gives the tenant a domain or service nobody has. It keeps name.
func (ch *change) addPlace(name string, p place) error {
	if name == "" {
		return fmt.Errorf("a %s without a name", p.kind)
	}
	v, t := ch.view, ch.tenant
	hash := maphash.String(v.seed, name)
	if o, taken := v.owners.get(hash, []byte(name)); taken {
		return fmt.Errorf("%q is a %s of tenant %q already", name, o.kind, o.tenant)
	}
	if v.installation.Shared([]byte(name)) {
		return fmt.Errorf("%q is a shared service already", name)
	}
	v.owners.put(ch.by, hash, name, ownership{t.id, p.kind})
	t.places.put(ch.by, hash, name, p)
	if p.kind == Service {
		t.services++
	}
	return nil
}

// removePlace takes a domain, with its members, or a service away. Sessions
// of a domain that comes back are older than its new DomainAdded, so nothing
// has to be remembered.
func (ch *change) removePlace(name string, kind HostKind) error {
	t := ch.tenant
	hash := maphash.String(t.seed, name)
	p, ok := t.places.find(hash, []byte(name))
	if !ok || p.kind != kind {
		return fmt.Errorf("no %s %q", kind, name)
	}
	if kind == Domain {
		t.listed -= p.listed
	}
	ch.disown(name)
	t.places.remove(ch.by, hash, name)
	if kind == Service {
		t.services--
	}
	return nil
}

func (ch *change) addDomain(e events.DomainAdded) error {
	role, err := ch.tenant.roleNamed(e.DefaultRole)
	if err != nil {
		return err
	}
	name := strings.Clone(e.Domain)
	return ch.addPlace(name, place{
		kind: Domain, defaultRole: role, revokedAt: ch.position,
		domain: &domain{name: name, backends: keptBackends(e.Backends), by: ch.by},
	})
}

// keptBackends is a list's own copy, its strings too.
func keptBackends(list []events.Backend) []events.Backend {
	own := slices.Clone(list)
	for i := range own {
		own[i].Address = strings.Clone(own[i].Address)
	}
	return own
}

// ownDomain returns a domain of the tenant for this change to edit, nil when
// there is none.
func (ch *change) ownDomain(name string) *place {
	t := ch.tenant
	p := t.places.edit(ch.by, maphash.String(t.seed, name), name)
	if p == nil || p.kind != Domain {
		return nil
	}
	if p.domain.by != ch.by {
		d := *p.domain
		d.uses, d.by = slices.Clone(d.uses), ch.by
		p.domain = &d
	}
	return p
}

// editDomain edits a domain.
func (ch *change) editDomain(name string, edit func(*place) error) error {
	p := ch.ownDomain(name)
	if p == nil {
		return fmt.Errorf("no domain %q", name)
	}
	return edit(p)
}

func (ch *change) setDefaultRole(d *place, name string) error {
	role, err := ch.tenant.roleNamed(name)
	if err != nil {
		return err
	}
	if role != d.defaultRole {
		d.defaultRole, d.defaultRevokedAt = role, ch.position
	}
	return nil
}
