package tenants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// A suspension says whether a domain or account is suspended, and whether only
// an operator may undo it.
type suspension struct {
	on bool
	// byOperator is set if an operator suspended the domain or account. Then only
	// an operator may resume it. It is false if on is false.
	byOperator bool
}

// wish returns the suspension that results from a policy. A policy says only
// whether there is a suspension, not whether an operator made it. A suspension
// that is on already therefore does not change, even by an operator's policy.
func (s suspension) wish(on, operator bool) suspension {
	switch {
	case !on:
		return suspension{}
	case s.on:
		return s
	}
	return suspension{true, operator}
}

// suspends reports whether a command to suspend changes anything. An operator's
// command also changes a suspension by the tenant: afterwards the tenant can no
// longer undo it.
func (p *checker) suspends(suspended, byOperator bool) bool {
	return !suspended || p.operator && !byOperator
}

// bound refuses events that would end an operator's suspension. It is called
// unless an operator gives the command. bound checks events and not commands, so
// one check covers every command. It uses the suspensions before the command,
// because the command's own events cannot make an operator's suspension.
func bound(t *projections.Tenant, evs []events.Event) Errors {
	if t == nil {
		return nil
	}
	var b bindings
	removed := map[string]bool{}
	for _, e := range evs {
		switch e := e.(type) {
		case events.DomainResumed:
			b.domain(t, e.Domain, "resume")
		case events.DomainRemoved:
			b.domain(t, e.Domain, "resume or remove")
			removed[e.Domain] = true
		case events.MemberResumed:
			b.member(t, e.JID, "resume")
		case events.MemberRemoved:
			b.member(t, e.JID, "resume or remove")
		}
	}
	b.within(t, removed)
	return b.errs
}

// bindings collects the errors of bound.
type bindings struct{ errs Errors }

func (b *bindings) fail(format string, args ...any) {
	if len(b.errs) < maxErrors {
		b.errs = append(b.errs, &Error{Code: Forbidden, Text: fmt.Sprintf(format, args...)})
	}
}

func (b *bindings) domain(t *projections.Tenant, name, act string) {
	if d, _ := t.Domain([]byte(name)); d.ByOperator {
		b.fail("domain %s was suspended by the operator: only an operator may %s it", quote(name), act)
	}
}

func (b *bindings) member(t *projections.Tenant, account, act string) {
	if m, _ := t.Member(account); m.ByOperator {
		b.fail("account %s was suspended by the operator: only an operator may %s it", quote(account), act)
	}
}

// within refuses to remove domains that have accounts suspended by an operator:
// their suspensions would be lost.
func (b *bindings) within(t *projections.Tenant, removed map[string]bool) {
	if len(removed) == 0 {
		return
	}
	held := map[string][]string{}
	for m := range t.Members() {
		if _, domain, _ := strings.Cut(m.JID, "@"); m.ByOperator && removed[domain] {
			held[domain] = append(held[domain], m.JID)
		}
	}
	var domains []string
	for domain := range held {
		domains = append(domains, domain)
	}
	slices.Sort(domains)
	for _, domain := range domains {
		others := ""
		if n := len(held[domain]) - 1; n > 0 {
			others = fmt.Sprintf(" and %d more", n)
		}
		b.fail("domain %s has accounts suspended by the operator, %s%s: only an operator may resume them or remove it",
			quote(domain), quote(slices.Min(held[domain])), others)
	}
}
