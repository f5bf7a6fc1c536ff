package projections

import (
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// An Entitlement says whether an account or a role has a permission, and why.
type Entitlement struct {
	// Known is false if the account or the role does not exist. An account does
	// not exist if its tenant does not, or if the tenant does not own its domain.
	Known bool
	// Role is the role that was looked up. OwnRole is set if it is the
	// account's own role and not the default role of its domain.
	Role    string
	OwnRole bool
	// BarredBy lists which of "tenant", "domain" and "member" are suspended.
	// If it is not empty, the account has no permission, whatever its role
	// gives.
	BarredBy []string
	// ByOperator lists the elements of BarredBy that only an operator may
	// resume.
	ByOperator []string
	// Steps are the steps of the look-up in the role; the last one decides.
	Steps []Step
}

// Held reports whether the account or the role has the permission.
func (h *Entitlement) Held() bool {
	return h.Known && len(h.BarredBy) == 0 && len(h.Steps) > 0 && h.Steps[len(h.Steps)-1].Answer.Granted()
}

// same reports whether two Entitlements give the same answer. The possible
// answers are held, not held and unknown.
func (h *Entitlement) same(other *Entitlement) bool {
	return h.Known == other.Known && h.Held() == other.Held()
}

// Entitlement says whether an account, by its prepared bare JID, has a permission.
// It also works for accounts without a member entry. t may be nil.
func (t *Tenant) Entitlement(account, perm string) Entitlement {
	_, name, _ := strings.Cut(account, "@")
	if t == nil {
		return Entitlement{}
	}
	access, ok := t.Access([]byte(account), []byte(name))
	if !ok {
		return Entitlement{}
	}
	m, _ := t.Member(account)
	h := Entitlement{Known: true, Role: access.Role, OwnRole: m.Role != "", Steps: t.Explain(access.Role, perm)}
	h.BarredBy, h.ByOperator = t.Blocks(account)
	return h
}

// Blocks lists the suspensions that keep an account out, by its prepared bare
// JID: which of "tenant", "domain" and "member" are suspended, and which of
// these only an operator may resume.
func (t *Tenant) Blocks(account string) (barred, byOperator []string) {
	_, name, _ := strings.Cut(account, "@")
	d, _ := t.Domain([]byte(name))
	m, _ := t.Member(account)
	for _, b := range []struct {
		what             string
		suspended, bound bool
	}{
		{"tenant", t.suspended, t.suspended}, // only an operator can suspend a tenant
		{"domain", d.Suspended, d.ByOperator},
		{"member", m.Suspended, m.ByOperator},
	} {
		if b.suspended {
			barred = append(barred, b.what)
		}
		if b.bound {
			byOperator = append(byOperator, b.what)
		}
	}
	return barred, byOperator
}

// RoleEntitlement says whether a role gives a permission. t may be nil.
func (t *Tenant) RoleEntitlement(role, perm string) Entitlement {
	if t == nil {
		return Entitlement{}
	}
	steps := t.Explain(role, perm)
	return Entitlement{Known: steps != nil, Role: role, Steps: steps}
}

// A Blame finds the commit that is the cause of an answer about a permission:
// the newest commit that changed the answer. It folds a tenant's commits one
// after the other. One goroutine owns a Blame.
type Blame struct {
	// Commit is the newest commit that changed the answer. It is nil if no
	// commit did: then the account or role was never known.
	Commit *events.Commit
	// Before is the Entitlement before Commit, After the one right after it.
	// Now is the Entitlement after the last commit folded. Now gives the same
	// answer as After, perhaps for other reasons.
	Before, After, Now Entitlement

	past *Past
	look func(*Tenant) Entitlement
	// account is the account asked about and domain its domainpart. Both are
	// empty if the question is about a role.
	account, domain string
}

// BlameAccount returns a Blame for the question why an account, by its prepared
// bare JID, has a permission or does not have it.
func BlameAccount(tenant, account, perm string) *Blame {
	_, domain, _ := strings.Cut(account, "@")
	return &Blame{
		past: NewPast(tenant), account: account, domain: domain,
		look: func(t *Tenant) Entitlement { return t.Entitlement(account, perm) },
	}
}

// BlameRole returns a Blame for the question why a role gives a permission or
// does not give it.
func BlameRole(tenant, role, perm string) *Blame {
	return &Blame{
		past: NewPast(tenant),
		look: func(t *Tenant) Entitlement { return t.RoleEntitlement(role, perm) },
	}
}

// Apply folds the tenant's next commit; see Past.Apply. It keeps c if c changes
// the answer.
func (b *Blame) Apply(c *events.Commit) error {
	if err := b.past.Apply(c); err != nil {
		return err
	}
	if !slices.ContainsFunc(c.Events, b.matters) {
		return nil
	}
	now := b.look(b.past.Tenant())
	if !now.same(&b.Now) {
		b.Commit, b.Before, b.After = c, b.Now, now
	}
	b.Now = now
	return nil
}

// matters reports whether an event can change the answer.
func (b *Blame) matters(e events.Event) bool {
	does := events.EffectsOf(e)
	if !does.Have(events.ChangesPermissions | events.ChangesAdmission) {
		return false
	}
	switch s := events.SubjectOf(e); s.Kind {
	case events.KindTenant: // a change of admission alone changes no role
		return b.account != "" || does.Have(events.ChangesPermissions)
	case events.KindDomain:
		return s.Name == b.domain
	case events.KindMember:
		return s.Name == b.account
	}
	return true
}

// Events returns the events of Commit that can have changed the answer. Events
// about a role are among them only if the look-up visited the role, before
// Commit or after it.
func (b *Blame) Events() []events.Event {
	if b.Commit == nil {
		return nil
	}
	asked := func(role string) bool {
		return slices.ContainsFunc(slices.Concat(b.Before.Steps, b.After.Steps), func(s Step) bool { return s.Role == role })
	}
	var list []events.Event
	for _, e := range b.Commit.Events {
		s := events.SubjectOf(e)
		if b.matters(e) && (s.Kind != events.KindRole || asked(s.Name)) {
			list = append(list, e)
		}
	}
	return list
}
