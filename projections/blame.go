package projections

import (
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// An Entitlement is whether an account, or a role, has a permission, and what that
// rests on.
type Entitlement struct {
	// Known is false while there is no such account: its domain is none of
	// the tenant's, or there is no such tenant. Of a role: no such role.
	Known bool
	// Role is the role that was asked, and OwnRole set when it is the
	// account's own and not its domain's default.
	Role    string
	OwnRole bool
	// BarredBy says what of "tenant", "domain" and "member" is suspended:
	// then nothing is held, whatever the role gives.
	BarredBy []string
	// ByOperator are those of BarredBy that only an operator may undo.
	ByOperator []string
	// Steps are those of the look-up in the role; the last one decides.
	Steps []Step
}

// Held is the answer.
func (h *Entitlement) Held() bool {
	return h.Known && len(h.BarredBy) == 0 && len(h.Steps) > 0 && h.Steps[len(h.Steps)-1].Answer.Granted()
}

// same reports whether two holdings come to the same answer: held, not held,
// or nobody there to hold it.
func (h *Entitlement) same(other *Entitlement) bool {
	return h.Known == other.Known && h.Held() == other.Held()
}

// Entitlement says whether an account, by its prepared bare JID, has a permission.
// It answers for accounts without a member entry too. t may be nil.
func (t *Tenant) Entitlement(account, perm string) Entitlement {
	_, name, _ := strings.Cut(account, "@")
	if t == nil {
		return Entitlement{}
	}
	standing, ok := t.Access([]byte(account), []byte(name))
	if !ok {
		return Entitlement{}
	}
	m, _ := t.Member(account)
	h := Entitlement{Known: true, Role: standing.Role, OwnRole: m.Role != "", Steps: t.Explain(standing.Role, perm)}
	h.BarredBy, h.ByOperator = t.Blocks(account)
	return h
}

// Blocks says what of "tenant", "domain" and "member" is suspended and keeps an
// account out, by its prepared bare JID; and which of those only an operator
// may undo.
func (t *Tenant) Blocks(account string) (barred, byOperator []string) {
	_, name, _ := strings.Cut(account, "@")
	d, _ := t.Domain([]byte(name))
	m, _ := t.Member(account)
	for _, b := range []struct {
		what             string
		suspended, bound bool
	}{
		{"tenant", t.suspended, t.suspended}, // nobody else may suspend one
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

// A Blame finds, as a tenant's commits are folded one after the other, the one
// after which the answer to a question became what it is: the newest that
// changed it. One goroutine owns it.
type Blame struct {
	// Commit made the answer what it is; nil when no commit did, because
	// nothing has been known of what is asked from the beginning.
	Commit *events.Commit
	// Before is what was so until then, After what has been so since then,
	// at once; Now is what is so after the last commit folded, which comes to
	// the same answer as After, perhaps for other reasons.
	Before, After, Now Entitlement

	past *Past
	look func(*Tenant) Entitlement
	// account is whose events matter, domain its domain; both empty when the
	// question is about a role.
	account, domain string
}

// BlameAccount asks why an account, by its prepared bare JID, has a permission
// or has it not.
func BlameAccount(tenant, account, perm string) *Blame {
	_, domain, _ := strings.Cut(account, "@")
	return &Blame{
		past: NewPast(tenant), account: account, domain: domain,
		look: func(t *Tenant) Entitlement { return t.Entitlement(account, perm) },
	}
}

// BlameRole asks why a role gives a permission or does not.
func BlameRole(tenant, role, perm string) *Blame {
	return &Blame{
		past: NewPast(tenant),
		look: func(t *Tenant) Entitlement { return t.RoleEntitlement(role, perm) },
	}
}

// Apply folds the tenant's next commit; see Past.Apply. It keeps c if c is to
// blame.
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
	case events.KindTenant: // admission is not a role's matter
		return b.account != "" || does.Have(events.ChangesPermissions)
	case events.KindDomain:
		return s.Name == b.domain
	case events.KindMember:
		return s.Name == b.account
	}
	return true
}

// Events are those of the commit to blame that had to do with it: of roles,
// only those the look-up came to before or after.
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
