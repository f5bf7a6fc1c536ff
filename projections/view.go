// Package projections folds commits into one immutable View: the tenants with
// their domains, services, roles and members, as they stand at one position.
//
// It promises that a View never changes once it is made (any number of
// goroutines may read one, and keep it), that Apply costs about the same
// whatever the size of a tenant, and that the look-ups a decision makes
// (Tenant, HostKind, Access) allocate nothing. It is pure: no I/O, no clock,
// no goroutine. Keyed hashes differ from process to process, which only the
// order of an iteration called unordered can show.
//
// Names are taken as prepared: the events hold prepared addresses, and whoever
// asks passes prepared ones.
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
	micros   int64 // Time, since 1970; 0 before the first commit
	seed     maphash.Seed
	// tenants holds removed ones too: an id is never used again.
	tenants      table[*Tenant]
	installation Installation
	// owners says who has a domain or service, in the whole installation.
	owners table[ownership]
	// base is what every tenant starts with: the built-in roles.
	base roleTable
}

// ownership is a tenant's id and the kind of place it owns.
type ownership struct {
	tenant string
	kind   HostKind
}

// A HostKind is what a domain is to a tenant.
type HostKind uint8

// The kinds of hosts.
const (
	Elsewhere HostKind = iota // neither: somebody else's, or nobody's
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

// Time is the time of the last commit applied, or of an earlier one if that
// was later; zero before the first.
func (v *View) Time() time.Time {
	if v.micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v.micros).UTC()
}

// Tenant returns a tenant by its id, nil when it is unknown or removed.
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

// Owner says which tenant has a domain or service, and as which of the two.
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
// must be the next one, and every event in it must apply: a View that skipped
// something must not decide, so any error leaves no View at all.
func (v *View) Apply(c *events.Commit) (*View, error) {
	next, by := *v, new(owner)
	if err := next.fold(by, c); err != nil {
		return nil, err
	}
	if len(c.Events) > 1 { // one leaves little room, and would pay for it
		next.trim(by)
	}
	return &next, nil
}

// fold applies a commit to the View in place; v must be its owner's. After an
// error the View is worth nothing.
//
// Nothing of c stays in the View: its strings are parts of its whole record,
// which would stay with them. What is kept is cloned.
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

// trim takes from what an owner made the room it left for more, when its fold
// ends: whoever changes it next copies it first.
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
	view     *View   // the View to be, owned by this change
	tenant   *Tenant // the tenant to be, owned by this change
	by       *owner  // made both
	position events.Position
	// recompile is set when a role or the ceiling changed.
	recompile bool
}

// begin makes the commit's tenant this change's own, or makes it.
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

// finish compiles what changed.
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
	return errUnknown // of the installation, or newer than this package
}

// kept is a list's own copy, its strings too.
func kept(list []string) []string {
	own := slices.Clone(list)
	for i, s := range own {
		own[i] = strings.Clone(s)
	}
	return own
}

// localOf is the localpart of a bare JID of the domain; false when it is none.
func localOf(account, domain []byte) ([]byte, bool) {
	n := len(account) - len(domain) - 1
	if n < 1 || account[n] != '@' || !bytes.Equal(account[n+1:], domain) {
		return nil, false
	}
	return account[:n], true
}
