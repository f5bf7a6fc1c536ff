package tenants

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// A suspension is whether something is suspended, and who may undo it.
type suspension struct {
	on bool
	// byOperator is set, with on, when an operator did it: only one may undo it.
	byOperator bool
}

// wish is what becomes of a suspension when somebody says whether there is to
// be one. Who wants what is so already changes nothing, an operator included:
// a policy says what is suspended, and not by whom.
func (s suspension) wish(on, operator bool) suspension {
	switch {
	case !on:
		return suspension{}
	case s.on:
		return s
	}
	return suspension{true, operator}
}

// suspends reports whether somebody who suspends adds to a suspension: an
// operator does to that of a tenant, which could undo its own.
func (p *checker) suspends(suspended, byOperator bool) bool {
	return !suspended || p.operator && !byOperator
}

// bound refuses events by which somebody other than an operator would end what
// an operator suspended. It goes by the events, whichever command they come
// of, and by the tenant as it was before them: nothing a tenant does itself
// makes a suspension an operator's.
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

// within looks for accounts that would be forgotten with their domains.
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
