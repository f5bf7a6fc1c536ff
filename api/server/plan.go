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

// maxNamed bounds the members that one group of a plan lists by name.
const maxNamed = 10_000

// postPlan answers with the changes that a policy would make.
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
	// A plan is refused for the same reasons as its application, with one exception:
	// a caller that may only read the tenant may plan, too. The actor therefore has
	// the tenant even if the caller may not change it.
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

// planRemoval answers with the changes that the removal of a tenant would make.
func (s *Server) planRemoval(r *http.Request, v *projections.View) (any, error) {
	t, err := tenantOf(r, v)
	if err != nil {
		return nil, err
	}
	c := tenants.Command{Tenant: t.ID(), Actor: tenants.Actor{Name: "plan", Operator: true}, ID: "plan", Change: tenants.RemoveTenant{}}
	return s.planned(v, t, &c, api.PlanReply{Position: uint64(v.Position()), LogID: s.logID, Tenant: t.ID(), TenantVersion: t.Version()})
}

// planned checks a command and adds its changes to the reply. before is the current
// tenant; nil if there is none.
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

// planTurn waits for a turn in history if a tenant makes a plan. A plan for a tenant
// with a million members takes as long as folding its past, and several hundred
// megabytes of memory. Operators need no turn: they are trusted, and they plan many
// tenants at the same time.
func (s *Server) planTurn(ctx context.Context) (end func(), err error) {
	if s.history == nil || callerOf(ctx).operator {
		return func() {}, nil
	}
	return s.history.Turn(ctx, callerOf(ctx).inHistory())
}

// differenceOf compares two states of a tenant. A nil state means that the tenant does
// not exist.
func differenceOf(before, after *projections.Tenant) ([]api.PlanChange, api.Effective) {
	return wireDifference(tenants.Compare(before, after))
}

// wireDifference converts a difference to its form on the wire.
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

// readPolicy answers with a tenant in the form of a policy.
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
