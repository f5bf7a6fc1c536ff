package projections

import (
	"container/heap"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// A Member describes, for a listing, one account that the tenant has an entry
// for.
type Member struct {
	JID        string
	Role       string // its own role; empty: the default role of its domain
	Secondary  []string
	Suspended  bool
	ByOperator bool            // set with Suspended only: only an operator may resume the member
	RevokedAt  events.Position // the newest position that revoked the sessions of this member alone
}

// Member returns one member by its prepared bare JID. It returns false if the
// account has no entry. Such an account may still exist: it then has the
// default role of its domain.
func (t *Tenant) Member(jid string) (Member, bool) {
	d, local, err := t.domainOf(jid)
	if err != nil {
		return Member{}, false
	}
	r := d.members.find(maphash.String(t.seed, local), []byte(local))
	if r.flags&flagListed == 0 {
		return Member{}, false
	}
	return t.memberInfo(d, r), true
}

// Members yields every member, in no particular order: a tenant may have a
// million members, and not every caller needs them sorted.
func (t *Tenant) Members() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		list := t.domainList()
		for i := range list {
			d := &list[i]
			for r := range d.members.all() {
				if r.flags&flagListed != 0 && !yield(t.memberInfo(d, r)) {
					return
				}
			}
		}
	}
}

// MembersAfter returns one page of a listing sorted by JID: the first members
// whose JID is greater than after, at most limit.
func (t *Tenant) MembersAfter(after string, limit int) []Member {
	if limit <= 0 {
		return nil
	}
	var page memberHeap
	for m := range t.Members() {
		switch {
		case m.JID <= after:
		case len(page) < limit:
			heap.Push(&page, m)
		case m.JID < page[0].JID:
			page[0] = m
			heap.Fix(&page, 0)
		}
	}
	slices.SortFunc(page, func(a, b Member) int { return strings.Compare(a.JID, b.JID) })
	return page
}

// MemberCount is the number of members.
func (t *Tenant) MemberCount() int { return t.listed }

// memberHeap is a heap with the greatest JID on top.
type memberHeap []Member

func (h memberHeap) Len() int           { return len(h) }
func (h memberHeap) Less(i, j int) bool { return h[i].JID > h[j].JID }
func (h memberHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *memberHeap) Push(x any)        { *h = append(*h, x.(Member)) }
func (h *memberHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// memberInfo unpacks a record into a Member.
func (t *Tenant) memberInfo(d *host, r record) Member {
	out := Member{
		JID:        string(r.local) + "@" + d.name,
		Suspended:  r.flags&flagSuspended != 0,
		ByOperator: r.flags&flagByOperator != 0,
		RevokedAt:  r.revokedAt,
	}
	if r.role != 0 {
		out.Role = t.roleName(r.role)
	}
	for i := range r.secondaryCount() {
		out.Secondary = append(out.Secondary, t.roleName(r.secondary(i)))
	}
	return out
}

// domainOf splits a bare JID and finds its domain.
func (t *Tenant) domainOf(jid string) (*host, string, error) {
	local, name, err := split(jid)
	if err != nil {
		return nil, "", err
	}
	p, ok := t.hosts.find(maphash.String(t.seed, name), []byte(name))
	if !ok || p.kind != Domain {
		return nil, "", fmt.Errorf("%q: no domain %q", jid, name)
	}
	return p, local, nil
}

// split splits a bare JID, which must have a localpart.
func split(jid string) (local, domain string, err error) {
	local, domain, ok := strings.Cut(jid, "@")
	if !ok || local == "" || len(local) > maxLocal {
		return "", "", fmt.Errorf("%q is not a bare JID with a localpart", jid)
	}
	return local, domain, nil
}

// applyMember folds the events about one account.
func (ch *change) applyMember(e events.Event) error {
	switch e := e.(type) {
	case events.MemberRolesSet:
		return ch.setMemberRoles(e)
	case events.MemberRemoved:
		return ch.editMember(e.JID, func(_ *host, m member) (member, error) {
			if m.flags&flagListed == 0 {
				return m, fmt.Errorf("no member %q", e.JID)
			}
			return member{local: m.local, revokedAt: ch.position}, nil
		})
	case events.MemberSuspended:
		return ch.editMember(e.JID, func(_ *host, m member) (member, error) {
			m.flags |= flagListed | flagSuspended
			if e.ByOperator {
				m.flags |= flagByOperator
			}
			m.revokedAt = ch.position
			return m, nil
		})
	case events.MemberResumed:
		return ch.editMember(e.JID, func(_ *host, m member) (member, error) {
			m.flags &^= flagSuspended | flagByOperator
			return m, nil
		})
	case events.MemberSessionsEnded:
		return ch.editMember(e.JID, func(_ *host, m member) (member, error) {
			m.revokedAt = ch.position
			return m, nil
		})
	}
	return errUnknown
}

// setMemberRoles sets the account's roles. It revokes the account's sessions
// only if the primary role changes.
func (ch *change) setMemberRoles(e events.MemberRolesSet) error {
	t := ch.tenant
	var role roleRef
	if e.Role != "" {
		var err error
		if role, err = t.roleNamed(e.Role); err != nil {
			return err
		}
	}
	var secondary []roleRef
	for _, name := range e.Secondary {
		r, err := t.roleNamed(name)
		if err != nil {
			return err
		}
		secondary = append(secondary, r)
	}
	if len(secondary) > maxSecondary {
		return fmt.Errorf("%q: %d secondary roles", e.JID, len(secondary))
	}
	return ch.editMember(e.JID, func(d *host, m member) (member, error) {
		if m.role == 0 {
			// Access reads defaultRevokedAt only for accounts without a role
			// of their own. This account may be about to get one, so the
			// position is copied to its record.
			m.revokedAt = max(m.revokedAt, d.defaultRevokedAt)
		}
		if d.primary(m.role) != d.primary(role) {
			m.revokedAt = ch.position
		}
		m.role, m.secondary = role, secondary
		m.flags |= flagListed
		return m, nil
	})
}

// primary returns the primary role of an account. own is the role set for the
// account itself, or 0.
func (d *host) primary(own roleRef) roleRef {
	if own == 0 {
		return d.defaultRole
	}
	return own
}

// editMember replaces an account's record by the one that edit returns, and
// keeps the counts of members and role uses correct.
func (ch *change) editMember(jid string, edit func(*host, member) (member, error)) error {
	t := ch.tenant
	local, name, err := split(jid)
	if err != nil {
		return err
	}
	d := ch.ownDomain(name)
	if d == nil {
		return fmt.Errorf("%q: no domain %q", jid, name)
	}
	hash := maphash.String(t.seed, local)
	before := d.members.get(hash, local)
	m, err := edit(d, before) // by value: a pointer would escape to the heap
	if err != nil {
		return err
	}
	if err := d.members.put(ch.by, t.seed, hash, m); err != nil {
		return fmt.Errorf("%q: %w", jid, err)
	}
	change := int(m.flags&flagListed/flagListed) - int(before.flags&flagListed/flagListed)
	d.listed += change
	t.listed += change
	if before.role != m.role || !slices.Equal(before.secondary, m.secondary) {
		d.uses = append(d.uses, make([]uint32, len(t.roles)-len(d.uses))...)
		d.count(m, 1)
		d.count(before, ^uint32(0))
	}
	return nil
}

// count adds delta to the use count of each role that a member holds.
func (d *domain) count(m member, delta uint32) {
	if m.role != 0 {
		d.uses[m.role-1] += delta
	}
	for _, r := range m.secondary {
		d.uses[r-1] += delta
	}
}
