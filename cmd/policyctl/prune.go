package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/postern-im/postern/api"
)

// planRemovals plans the removal of every tenant that has no file.
func planRemovals(ctx context.Context, a *app, plans []planned) ([]planned, error) {
	list, err := allTenants(ctx, a)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeForbidden {
		return nil, fmt.Errorf("--prune needs the list of all tenants: %w", err)
	}
	if err != nil {
		return nil, err
	}
	filed := map[string]bool{}
	for _, p := range plans {
		filed[p.reply.Tenant] = true
	}
	var removed []planned
	for _, id := range tenantIDs(list) {
		if !filed[id] {
			removed = append(removed, planned{removes: true, reply: api.PlanReply{Tenant: id}})
		}
	}
	return removed, errors.Join(each(len(removed), func(i int) error {
		p := &removed[i]
		reply, err := a.client.PlanRemoval(ctx, p.reply.Tenant)
		if err != nil {
			return fmt.Errorf("tenant %s: %w", p.reply.Tenant, err)
		}
		p.reply = reply
		return nil
	})...)
}

// removedTenants returns the tenants that the plans remove.
func removedTenants(plans []planned) (ids []string) {
	for _, p := range plans {
		if p.removes {
			ids = append(ids, p.reply.Tenant)
		}
	}
	return ids
}

// maxNamed bounds the tenants that are named in a question.
const maxNamed = 20

// question describes the effect of applying the plans. If tenants are removed,
// word is the text that the user must type, such as "remove 3". Otherwise word is
// empty, and a yes is enough.
func question(plans []planned) (what, word string) {
	removed := removedTenants(plans)
	changed := -len(removed)
	for _, p := range plans {
		if p.changes() {
			changed++
		}
	}
	if len(removed) == 0 {
		return fmt.Sprintf("this changes %s", plural(changed, "tenant")), ""
	}
	names := strings.Join(removed[:min(len(removed), maxNamed)], ", ")
	if more := len(removed) - maxNamed; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("this changes %s, and removes %s for good, with domains and members: %s", plural(changed, "tenant"), plural(len(removed), "tenant"), names),
		fmt.Sprintf("remove %d", len(removed))
}
