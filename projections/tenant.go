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

// A Tenant holds the domains, services, roles and members of one customer. It
// belongs to a View and, like the View, never changes.
type Tenant struct {
	// The fields that Access reads come first, to share as few cache lines as
	// possible.
	seed      maphash.Seed
	hosts     table[host]
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

// Ceiling lists the permissions that no role of the tenant can give, as they
// were set. The caller must not change the list.
func (t *Tenant) Ceiling() []string { return t.ceiling }

// CeilingSet is the part of the ceiling that is in the permission catalogue.
func (t *Tenant) CeilingSet() permission.Set { return t.ceilingMask }

// MaxSessions is the greatest number of sessions that the tenant may have at
// each gateway. 0 means that the tenant has no limit of its own.
func (t *Tenant) MaxSessions() uint64 { return t.maxSessions }

// HostKind says whether the tenant itself owns a domain or service. It does not
// know shared services. To find out whether an address is local, use
// View.HostKindFor, which does.
func (t *Tenant) HostKind(domain []byte) HostKind {
	p, _ := t.hosts.get(maphash.Bytes(t.seed, domain), domain)
	return p.kind
}

// Services lists the tenant's services, sorted.
func (t *Tenant) Services() []string {
	names := make([]string, 0, t.ServiceCount())
	for name, p := range t.hosts.all() {
		if p.kind == Service {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// An Access says what an account may do, and which of its sessions were
// revoked.
type Access struct {
	// Role is the name of the primary role: the member's own role, or the
	// default role of its domain if it has none.
	Role string
	// Effective is the set of permissions that the role gives, minus the
	// permissions of the ceiling.
	Effective permission.Set
	// RevokedAt is the newest position at which sessions of this account were
	// revoked: a session opened at an older position has ended.
	RevokedAt events.Position
	// Suspended is set while the tenant, the domain or the member is suspended.
	Suspended bool
}

// Access looks an account up. account is a prepared bare JID, domain its
// domainpart. Access returns false if the tenant does not own the domain, or
// account is not an account of the domain.
func (t *Tenant) Access(account, domain []byte) (Access, bool) {
	d, ok := t.hosts.find(maphash.Bytes(t.seed, domain), domain)
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
		for name := range t.hosts.all() {
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
		return ch.editDomain(e.Domain, func(d *host) error {
			d.backends = keptBackends(e.Backends)
			return nil
		})
	case events.DomainDefaultRoleSet:
		return ch.editDomain(e.Domain, func(d *host) error { return ch.setDefaultRole(d, e.Role) })
	case events.DomainSuspended:
		return ch.editDomain(e.Domain, func(d *host) error {
			d.suspended, d.byOperator, d.revokedAt = true, d.byOperator || e.ByOperator, ch.position
			return nil
		})
	case events.DomainResumed:
		return ch.editDomain(e.Domain, func(d *host) error {
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
		return ch.addPlace(strings.Clone(e.Service), host{kind: Service})
	case events.ServiceRemoved:
		return ch.removePlace(e.Service, Service)
	}
	return errUnknown
}

// trim cuts spare capacity, as View.trim does, in one tenant, which by must have
// made.
func (t *Tenant) trim(by *owner) {
	t.hosts.trim(by)
	t.hosts.root.owned(by, func(leaf *[]slot[host]) {
		for i := range *leaf {
			(*leaf)[i].value.members.trim(by)
		}
	})
}

// created reports whether TenantCreated was applied. TenantCreated revokes all
// sessions older than the tenant, so from then on revokedAt is never zero.
func (t *Tenant) created() bool { return t.revokedAt > 0 }

// DomainInfo describes one XMPP host of a tenant for a listing.
type DomainInfo struct {
	Name        string
	DefaultRole string
	Backends    []events.Backend // in the order to try; the caller must not change it
	Suspended   bool
	ByOperator  bool // set with Suspended only: only an operator may resume the domain
	Members     int  // accounts with a member entry
}

// host is a domain or a service of one tenant. A service has only its kind.
// The fields that Access reads are in the host itself and not in *domain, so
// they lie in the table's leaf and cost no further cache miss.
type host struct {
	kind             HostKind
	suspended        bool
	byOperator       bool // set with suspended only
	defaultRole      roleRef
	members          members
	revokedAt        events.Position
	defaultRevokedAt events.Position // for accounts without a role of their own
	*domain
}

// domain holds the other facts about an XMPP host. Once in a View it never
// changes.
type domain struct {
	// The fields that each change of a member needs come first, in one cache
	// line.
	by     *owner // the owner that made this and uses
	listed int
	// uses counts, for each role, the members that hold it. So RoleUses and
	// RoleRemoved need not read all members.
	uses     []uint32
	name     string
	backends []events.Backend
}

// Domain returns one domain of the tenant.
func (t *Tenant) Domain(name []byte) (DomainInfo, bool) {
	p, ok := t.hosts.get(maphash.Bytes(t.seed, name), name)
	if !ok || p.kind != Domain {
		return DomainInfo{}, false
	}
	return t.info(&p), true
}

func (t *Tenant) info(d *host) DomainInfo {
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
func (t *Tenant) DomainCount() int { return t.hosts.len - t.ServiceCount() }

// ServiceCount is the number of services.
func (t *Tenant) ServiceCount() int { return int(t.services) }

// domainList returns the domains, sorted by name.
func (t *Tenant) domainList() []host {
	list := make([]host, 0, t.DomainCount())
	for _, p := range t.hosts.all() {
		if p.kind == Domain {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b host) int { return strings.Compare(a.name, b.name) })
	return list
}

// disown removes a host from the table of owners.
func (ch *change) disown(name string) {
	v := ch.view
	v.owners.remove(ch.by, maphash.String(v.seed, name), name)
}

// addPlace gives the tenant a domain or service, which must have no owner yet.
// The View keeps the string name.
func (ch *change) addPlace(name string, p host) error {
	if name == "" {
		return fmt.Errorf("a %s without a name", p.kind)
	}
	v, t := ch.view, ch.tenant
	hash := maphash.String(v.seed, name)
	if o, taken := v.owners.get(hash, []byte(name)); taken {
		return fmt.Errorf("%q is already a %s of tenant %q", name, o.kind, o.tenant)
	}
	if v.installation.Shared([]byte(name)) {
		return fmt.Errorf("%q is already a shared service", name)
	}
	v.owners.put(ch.by, hash, name, ownership{t.id, p.kind})
	t.hosts.put(ch.by, hash, name, p)
	if p.kind == Service {
		t.services++
	}
	return nil
}

// removePlace removes a service, or a domain with its members. Nothing has to
// be kept to revoke sessions: if the domain is added again, its new DomainAdded
// revokes all older sessions.
func (ch *change) removePlace(name string, kind HostKind) error {
	t := ch.tenant
	hash := maphash.String(t.seed, name)
	p, ok := t.hosts.find(hash, []byte(name))
	if !ok || p.kind != kind {
		return fmt.Errorf("no %s %q", kind, name)
	}
	if kind == Domain {
		t.listed -= p.listed
	}
	ch.disown(name)
	t.hosts.remove(ch.by, hash, name)
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
	return ch.addPlace(name, host{
		kind: Domain, defaultRole: role, revokedAt: ch.position,
		domain: &domain{name: name, backends: keptBackends(e.Backends), by: ch.by},
	})
}

// keptBackends copies a list of backends and their strings, as kept does.
func keptBackends(list []events.Backend) []events.Backend {
	own := slices.Clone(list)
	for i := range own {
		own[i].Address = strings.Clone(own[i].Address)
	}
	return own
}

// ownDomain returns a domain of the tenant that this change may edit in place. It
// copies the domain if needed. It returns nil if there is no such domain.
func (ch *change) ownDomain(name string) *host {
	t := ch.tenant
	p := t.hosts.edit(ch.by, maphash.String(t.seed, name), name)
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

// editDomain calls edit for a domain of the tenant.
func (ch *change) editDomain(name string, edit func(*host) error) error {
	p := ch.ownDomain(name)
	if p == nil {
		return fmt.Errorf("no domain %q", name)
	}
	return edit(p)
}

func (ch *change) setDefaultRole(d *host, name string) error {
	role, err := ch.tenant.roleNamed(name)
	if err != nil {
		return err
	}
	if role != d.defaultRole {
		d.defaultRole, d.defaultRevokedAt = role, ch.position
	}
	return nil
}
