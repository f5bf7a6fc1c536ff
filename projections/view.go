// Package projections folds commits, in the order of the log, into one
// immutable View: the tenants with their domains, services, roles and members
// at one position.
//
// It promises three things. A View never changes after it is made, so any
// number of goroutines may read and keep one. Apply costs about the same for a
// small tenant and a large one. The look-ups of a decision (Tenant, HostKind,
// Access) allocate nothing. The package is pure: no I/O, no clock, no
// goroutine. Its hashes are keyed at random in each process; this affects only
// the order of iterations that are documented as unordered.
//
// The package does not prepare names. Events hold prepared addresses, and
// callers must pass prepared addresses.
package projections

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
)

// A View is every projection at one position.
type View struct {
	position events.Position
	micros   int64 // Time, in µs since 1970; 0 before the first commit
	seed     maphash.Seed
	// tenants holds removed tenants too, since an id must never be used again.
	tenants      table[*Tenant]
	installation Installation
	// owners maps each domain and service of every tenant to its owner.
	owners table[ownership]
	// base holds the built-in roles. Every new tenant starts with a copy.
	base roleTable
}

// ownership is a tenant's id and the kind of host it owns.
type ownership struct {
	tenant string
	kind   HostKind
}

// A HostKind says how a domain relates to a tenant.
type HostKind uint8

// The kinds of hosts.
const (
	Elsewhere HostKind = iota // not the tenant's: another tenant's, or unknown
	Domain                    // an XMPP host of the tenant
	Service                   // a component domain of the tenant
)

// String names the kind.
func (k HostKind) String() string {
	switch k {
	case Domain:
		return "domain"
	case Service:
		return "service"
	}
	return "elsewhere"
}

// New returns the View of an empty log.
func New() *View {
	seed := maphash.MakeSeed()
	return &View{seed: seed, base: builtinRoleTable(seed)}
}

// Position is the position of the last commit applied.
func (v *View) Position() events.Position { return v.position }

// Time is the latest time of all commits applied, so it never goes back when a
// clock does. It is zero before the first commit.
func (v *View) Time() time.Time {
	if v.micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v.micros).UTC()
}

// Tenant returns a tenant by its id, or nil if it is unknown or was removed.
func (v *View) Tenant(id []byte) *Tenant {
	t, ok := v.tenants.get(maphash.Bytes(v.seed, id), id)
	if !ok || t.removed {
		return nil
	}
	return t
}

// Used reports whether a tenant has, or ever had, this id.
func (v *View) Used(id []byte) bool {
	_, ok := v.tenants.get(maphash.Bytes(v.seed, id), id)
	return ok
}

// Owner returns the tenant that owns a domain or service, and its kind. For
// any other name it returns nil and Elsewhere.
func (v *View) Owner(domain []byte) (*Tenant, HostKind) {
	o, ok := v.owners.get(maphash.Bytes(v.seed, domain), domain)
	if !ok {
		return nil, Elsewhere
	}
	return v.Tenant([]byte(o.tenant)), o.kind
}

// Tenants yields the tenants in the order of their ids.
func (v *View) Tenants() iter.Seq[*Tenant] {
	list := make([]*Tenant, 0, v.tenants.len)
	for _, t := range v.tenants.all() {
		if !t.removed {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *Tenant) int { return strings.Compare(a.id, b.id) })
	return slices.Values(list)
}

// Apply returns the View after a commit; v itself does not change. The commit
// must be the next one, and every event in it must apply. A View that skipped
// an event must never decide, so after an error Apply returns no View at all.
func (v *View) Apply(c *events.Commit) (*View, error) {
	next, by := *v, new(owner)
	if err := next.fold(by, c); err != nil {
		return nil, err
	}
	if len(c.Events) > 1 { // after one event, trim costs more than it frees
		next.trim(by)
	}
	return &next, nil
}

// fold applies a commit to the View in place. The owner by must have made v.
// After an error the View must not be used.
//
// The View keeps no string of c: strings are cloned before they are stored.
// Each string of c is a part of the encoded commit, so one kept string would
// keep the whole encoding in memory.
func (v *View) fold(by *owner, c *events.Commit) error {
	if c.Position != v.position+1 {
		return fmt.Errorf("apply commit %d: the view is at %d", c.Position, v.position)
	}
	v.position = c.Position
	v.micros = max(v.micros, c.Time.UnixMicro())
	if c.Tenant == "" {
		return v.foldInstallation(c)
	}
	ch := change{view: v, by: by, position: c.Position}
	if err := ch.begin(c); err != nil {
		return fmt.Errorf("apply commit %d: tenant %q: %w", c.Position, c.Tenant, err)
	}
	for i, e := range c.Events {
		if err := ch.apply(e); err != nil {
			return fmt.Errorf("apply commit %d: tenant %q: event %d: %T: %w", c.Position, c.Tenant, i+1, e, err)
		}
	}
	if err := ch.finish(); err != nil {
		return fmt.Errorf("apply commit %d: tenant %q: %w", c.Position, c.Tenant, err)
	}
	return nil
}

// trim cuts the spare capacity of the slices that an owner made, when its fold
// ends. The next fold copies a slice before it changes it, so the spare
// capacity would never be used.
func (v *View) trim(by *owner) {
	v.owners.trim(by)
	v.tenants.trim(by)
	v.tenants.root.owned(by, func(leaf *[]slot[*Tenant]) {
		for _, s := range *leaf {
			if s.value.by == by {
				s.value.trim(by)
			}
		}
	})
}

var (
	errNotNew   = errors.New("the tenant is not new")
	errNoTenant = errors.New("no such tenant")
	errRemoved  = errors.New("the tenant was removed")
	errUnknown  = errors.New("unknown event type")
)

// change is one commit being applied to one tenant.
type change struct {
	view     *View   // the next View, not published yet
	tenant   *Tenant // the tenant in it, not published yet
	by       *owner  // the owner that made view and tenant
	position events.Position
	// recompile is set when a role or the ceiling changed.
	recompile bool
}

// begin copies the commit's tenant for this change, or creates the tenant.
func (ch *change) begin(c *events.Commit) error {
	v := ch.view
	hash := maphash.String(v.seed, c.Tenant)
	t, known := v.tenants.get(hash, []byte(c.Tenant))
	switch {
	case known && t.removed:
		return errRemoved
	case known:
		if t.by != ch.by {
			own := *t
			t = &own
		}
	default:
		if len(c.Events) == 0 {
			return errNoTenant
		}
		if _, ok := c.Events[0].(events.TenantCreated); !ok {
			return errNoTenant
		}
		t = &Tenant{id: strings.Clone(c.Tenant), seed: v.seed, roleTable: v.base}
	}
	if c.TenantVersion != t.version+1 {
		return fmt.Errorf("version %d: the tenant is at %d", c.TenantVersion, t.version)
	}
	t.version = c.TenantVersion
	if t.by != ch.by {
		t.by = ch.by
		v.tenants.put(ch.by, hash, t.id, t)
	}
	ch.tenant = t
	return nil
}

// finish compiles the roles again if the commit changed a role or the ceiling.
func (ch *change) finish() error {
	if t := ch.tenant; ch.recompile && !t.removed {
		return t.compile(ch.position)
	}
	return nil
}

// apply folds one event.
func (ch *change) apply(e events.Event) error {
	if ch.tenant.removed {
		return errRemoved
	}
	switch events.SubjectOf(e).Kind {
	case events.KindTenant:
		return ch.applyTenant(e)
	case events.KindDomain:
		return ch.applyDomain(e)
	case events.KindService:
		return ch.applyService(e)
	case events.KindRole:
		return ch.applyRole(e)
	case events.KindMember:
		return ch.applyMember(e)
	}
	return errUnknown // an event of the installation, or a newer event type
}

// kept copies a list and its strings, so that it shares no memory with a commit.
func kept(list []string) []string {
	own := slices.Clone(list)
	for i, s := range own {
		own[i] = strings.Clone(s)
	}
	return own
}

// localOf returns the localpart of account. It returns false if account is not
// a bare JID, with a localpart, of the domain.
func localOf(account, domain []byte) ([]byte, bool) {
	n := len(account) - len(domain) - 1
	if n < 1 || account[n] != '@' || !bytes.Equal(account[n+1:], domain) {
		return nil, false
	}
	return account[:n], true
}
