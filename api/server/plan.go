package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/overapi"
)

// maxNamed bounds the members named in one group of a plan.
const maxNamed = 10_000

// postPlan says what a policy would change.
func (s *Server) postPlan(w http.ResponseWriter, r *http.Request) (any, error) {
	var q api.TenantApply
	if err := decodeBody(w, r, &q); err != nil {
		return nil, err
	}
	change, err := overapi.ApplyTenant(q)
	if err != nil {
		return nil, err
	}
	end, err := s.planTurn(r.Context())
	if err != nil {
		return nil, err
	}
	defer end()
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	id := r.PathValue("tenant")
	before := v.Tenant([]byte(id))
	// What its apply would be refused for, the plan is refused for; but to read
	// what would be is enough to plan.
	caller := callerOf(r.Context())
	actor := tenants.Actor{Name: "plan", Operator: caller.operator, Tenant: caller.tenant}
	c := tenants.Command{Tenant: id, Actor: actor, ID: "plan", Change: change}
	reply := api.PlanReply{Position: uint64(v.Position()), LogID: s.logID, Tenant: id}
	if before == nil {
		c.Change = tenants.CreateTenant(change)
	} else {
		reply.TenantVersion = before.Version()
	}
	return s.planned(v, before, &c, reply)
}

// planRemoval says what the removal of a tenant would change.
func (s *Server) planRemoval(r *http.Request, v *projections.View) (any, error) {
	t, err := tenantOf(r, v)
	if err != nil {
		return nil, err
	}
	c := tenants.Command{Tenant: t.ID(), Actor: tenants.Actor{Name: "plan", Operator: true}, ID: "plan", Change: tenants.RemoveTenant{}}
	return s.planned(v, t, &c, api.PlanReply{Position: uint64(v.Position()), LogID: s.logID, Tenant: t.ID(), TenantVersion: t.Version()})
}

// planned checks a command and completes the reply with what it would change.
// before is the tenant as it is, nil where there is none.
func (s *Server) planned(v *projections.View, before *projections.Tenant, c *tenants.Command, reply api.PlanReply) (any, error) {
	outcome, err := c.Check(v)
	if err != nil {
		return nil, s.refusal(c.Change.Name(), "", err)
	}
	for _, warning := range outcome.Warnings {
		reply.Warnings = append(reply.Warnings, warning.Text)
	}
	reply.Warnings = list(reply.Warnings)
	if len(outcome.Events) > 0 {
		next, err := v.Apply(&events.Commit{
			Position: v.Position() + 1, Time: v.Time(), Tenant: c.Tenant, TenantVersion: reply.TenantVersion + 1, Events: outcome.Events,
		})
		if err != nil {
			return nil, fmt.Errorf("apply a plan: %w", err)
		}
		reply.Changes, reply.Effective = differenceOf(before, next.Tenant([]byte(c.Tenant)))
	} else {
		reply.Changes, reply.Effective = wireDifference(tenants.Difference{})
	}
	return reply, nil
}

// planTurn waits for a tenant's turn to plan: where it has a million members,
// that takes as long as its past, and several hundred megabytes. Operators, who
// plan many tenants at once, are trusted with that.
func (s *Server) planTurn(ctx context.Context) (end func(), err error) {
	if s.history == nil || callerOf(ctx).operator {
		return func() {}, nil
	}
	return s.history.Turn(ctx, callerOf(ctx).inHistory())
}

func differenceOf(before, after *projections.Tenant) ([]api.PlanChange, api.Effective) {
	return wireDifference(tenants.Compare(before, after))
}

func wireDifference(d tenants.Difference) ([]api.PlanChange, api.Effective) {
	changes := []api.PlanChange{}
	for _, e := range d.Edits {
		c := api.PlanChange{Op: string(e.Op), Type: eventType(e.Event), What: events.Describe(e.Event)}
		if e.Was != nil {
			c.Was = events.Describe(e.Was)
		}
		changes = append(changes, c)
	}
	f := api.Effective{
		Permissions: groupsOf(d.Permissions), Secondary: groupsOf(d.Secondary),
		Sessions: []api.EffectiveEnding{}, Incomplete: d.Incomplete,
	}
	for _, e := range d.Sessions {
		f.Sessions = append(f.Sessions, api.EffectiveEnding{Why: e.Why, EffectiveAccounts: accountsOf(e.Accounts)})
	}
	return changes, f
}

func groupsOf(groups []tenants.Group) []api.EffectiveGroup {
	out := []api.EffectiveGroup{}
	for _, g := range groups {
		out = append(out, api.EffectiveGroup{Role: g.Role, Gain: list(g.Gain), Lose: list(g.Lose), EffectiveAccounts: accountsOf(g.Accounts)})
	}
	return out
}

func accountsOf(a tenants.Accounts) api.EffectiveAccounts {
	return api.EffectiveAccounts{
		MemberCount: len(a.Members), Members: list(a.Members[:min(len(a.Members), maxNamed)]), Domains: list(a.Domains),
	}
}

// readPolicy answers a tenant as a policy.
func readPolicy(_ *http.Request, v *projections.View, t *projections.Tenant) (any, error) {
	c := tenants.Desired(t)
	byOperator := []string{}
	for d := range t.Domains() {
		if d.ByOperator {
			byOperator = append(byOperator, d.Name)
		}
	}
	for _, m := range c.Members {
		if is, _ := t.Member(m.JID); is.ByOperator {
			byOperator = append(byOperator, m.JID)
		}
	}
	return api.PolicyReply{
		Position: uint64(v.Position()), Tenant: t.ID(), TenantVersion: t.Version(),
		Policy: api.TenantApply(overapi.TenantCreate(tenants.CreateTenant(c))), SuspendedByOperator: byOperator,
	}, nil
}
