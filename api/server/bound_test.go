package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
)

// TestSuspensionBindsTheTenant tries to undo an operator's suspension with a tenant's
// write token in every way. Nothing is written, and each refusal names the suspended
// object and says that only an operator may resume it.
func TestSuspensionBindsTheTenant(t *testing.T) {
	r := start(t, nil)
	ctx := t.Context()
	r.do(t, "acme", acme())
	address, _ := r.network(t, false)
	token, _ := r.mint(t, "write", "acme", 0)
	tenant := remote(t, address, token, nil)
	r.do(t, "acme", api.MemberSuspend{JID: "bob@alpha.test"})
	r.do(t, "acme", api.MemberSuspend{JID: "eve@alpha.test"}) // an account without an entry
	r.do(t, "acme", api.DomainSuspend{Domain: "beta.test"})

	exported, err := tenant.Policy(ctx, "acme")
	if err != nil || !slices.Equal(exported.SuspendedByOperator, []string{"beta.test", "bob@alpha.test", "eve@alpha.test"}) {
		t.Fatalf("%+v, %v", exported, err)
	}
	no, yes := false, true
	policy := func(edit func(*api.TenantApply)) api.TenantApply {
		p := exported.Policy
		p.Domains, p.Members = slices.Clone(p.Domains), slices.Clone(p.Members)
		edit(&p)
		return p
	}
	without := func(domain string) func(*api.TenantApply) {
		return func(p *api.TenantApply) {
			p.Domains = slices.DeleteFunc(p.Domains, func(d api.DomainAdd) bool { return d.Domain == domain })
			p.Members = slices.DeleteFunc(p.Members, func(m api.MemberSet) bool { return strings.HasSuffix(m.JID, "@"+domain) })
		}
	}
	ways := []struct {
		name, names string // names is the object in the refusal
		command     api.Command
	}{
		{"resume the account", "bob@alpha.test", api.MemberResume{JID: "bob@alpha.test"}},
		{"resume one without roles", "eve@alpha.test", api.MemberResume{JID: "EVE@alpha.test"}},
		{"set its roles, and resume it", "bob@alpha.test", api.MemberSet{JID: "bob@alpha.test", Role: "lab:kiosk", Suspended: &no}},
		{"remove it", "bob@alpha.test", api.MemberRemove{JID: "bob@alpha.test"}},
		{"remove its domain", "bob@alpha.test", api.DomainRemove{Domain: "alpha.test"}},
		{"resume the domain", "beta.test", api.DomainResume{Domain: "beta.test"}},
		{"remove the domain", "beta.test", api.DomainRemove{Domain: "BETA.test"}},
		{"a policy that resumes the account", "bob@alpha.test", policy(func(p *api.TenantApply) {
			for i := range p.Members {
				p.Members[i].Suspended = &no
			}
		})},
		{"a policy that resumes the domain", "beta.test", policy(func(p *api.TenantApply) {
			for i := range p.Domains {
				p.Domains[i].Suspended = &no
			}
		})},
		{"a policy without the account's domain", "bob@alpha.test", policy(without("alpha.test"))},
		{"a policy without the domain", "beta.test", policy(without("beta.test"))},
		{"a policy of nothing", "beta.test", api.TenantApply{}},
		{"the domain made a service", "service", policy(func(p *api.TenantApply) {
			without("beta.test")(p)
			p.Services = append(slices.Clone(p.Services), "beta.test")
		})},
		{"the tenant anew", "", api.TenantRemove{}},
		{"the domain anew", "", api.DomainAdd{Domain: "beta.test"}},
	}
	before := r.whole(t, "acme")
	for _, way := range ways {
		_, err := tenant.Do(ctx, "acme", way.command, api.CommandMeta{})
		if codeOf(err) != api.CodeForbidden || !strings.Contains(err.Error(), way.names) || way.names != "" && !strings.Contains(err.Error(), "operator") {
			t.Errorf("%s: %v", way.name, err)
		}
		if p, isPolicy := way.command.(api.TenantApply); isPolicy {
			if _, err := tenant.Plan(ctx, "acme", p); codeOf(err) != api.CodeForbidden {
				t.Errorf("%s, planned: %v", way.name, err)
			}
		}
		if after := r.whole(t, "acme"); after != before {
			t.Fatalf("%s changed something:\n%s\n%s", way.name, before, after)
		}
	}

	// The tenant may send commands that keep the suspension. Applying its own
	// export, or a policy that does not mention the suspension, changes nothing.
	for name, c := range map[string]api.Command{
		"suspend it again":      api.MemberSuspend{JID: "bob@alpha.test"},
		"the domain again":      api.DomainSuspend{Domain: "beta.test"},
		"roles, and suspended":  api.MemberSet{JID: "bob@alpha.test", Role: "lab:kiosk", Secondary: []string{"prosody:member"}, Suspended: &yes},
		"its own export":        exported.Policy,
		"an export of silences": policy(func(p *api.TenantApply) { p.Domains[1].Suspended, p.Members[0].Suspended = nil, nil }),
	} {
		if result, err := tenant.Do(ctx, "acme", c, api.CommandMeta{}); err != nil || result.Changed {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	if _, err := tenant.Do(ctx, "acme", api.MemberSet{JID: "bob@alpha.test", Role: "prosody:admin"}, api.CommandMeta{}); err != nil {
		t.Error(err)
	}
	bob, err := tenant.Member(ctx, "acme", "bob@alpha.test")
	if err != nil || !bob.Suspended || !bob.SuspendedByOperator || !slices.Equal(bob.BarredByOperator, []string{"member"}) || bob.Role != "prosody:admin" {
		t.Errorf("%+v, %v", bob, err)
	}

	// If the tenant has suspended an account and the operator suspends it as well,
	// the tenant can no longer resume it.
	own := api.MemberSuspend{JID: "ann@alpha.test"}
	for _, c := range []api.Command{own, api.MemberResume{JID: "ann@alpha.test"}, own} {
		if result, err := tenant.Do(ctx, "acme", c, api.CommandMeta{}); err != nil || !result.Changed {
			t.Fatalf("%+v: %+v, %v", c, result, err)
		}
	}
	if result := r.do(t, "acme", own); !result.Changed {
		t.Error("the operator's suspension of a suspended account changes nothing")
	}
	if _, err := tenant.Do(ctx, "acme", api.MemberResume{JID: "ann@alpha.test"}, api.CommandMeta{}); codeOf(err) != api.CodeForbidden {
		t.Errorf("resumed: %v", err)
	}
	// When the operator resumes the account, both suspensions end.
	r.do(t, "acme", api.MemberResume{JID: "ann@alpha.test"})
	if ann, err := tenant.Member(ctx, "acme", "ann@alpha.test"); err != nil || ann.Suspended || ann.SuspendedByOperator || len(ann.BarredBy) > 0 {
		t.Errorf("%+v, %v", ann, err)
	}

	// A suspension by an operator's token counts as an operator's.
	all, _ := r.mint(t, "operator", "", 0)
	operator := remote(t, address, all, nil)
	for _, c := range []api.Command{own, api.MemberResume{JID: "bob@alpha.test"}} {
		if _, err := operator.Do(ctx, "acme", c, api.CommandMeta{}); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := tenant.Do(ctx, "acme", api.MemberResume{JID: "ann@alpha.test"}, api.CommandMeta{}); codeOf(err) != api.CodeForbidden {
		t.Errorf("suspended by an operator's token, and resumed: %v", err)
	}
}

// whole returns a tenant with its members and policy, as text. The text has the
// position of the log, so it changes with every commit.
func (r *running) whole(t *testing.T, tenant string) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{"", "/members", "/policy"} {
		status, body := r.get(t, "/v1/tenants/"+tenant+path)
		if status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", path, status, body)
		}
		all.WriteString(body)
	}
	return all.String()
}
