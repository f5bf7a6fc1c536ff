package main

import (
	"context"
	"errors"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/replica"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// An adminRunner runs commands of the admin API on the node. If it is certain that
// the node did not run a command, it returns an api.Error that says so.
type adminRunner struct {
	*node.Node
	keys *keyring
}

// Execute runs a command. After a change of the registry of gateways, it also waits
// until the change is in force at this node.
func (r adminRunner) Execute(ctx context.Context, c tenants.Command) (tenants.Result, error) {
	switch {
	case r.View() == nil && r.Failure() == nil:
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "the node has not caught up with the log yet; nothing was done"}
	case r.Failure() != nil:
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "the node has stopped deciding; nothing was done; its log says why"}
	}
	result, err := r.Node.Execute(ctx, c)
	switch {
	case errors.Is(err, node.ErrBusy):
		return tenants.Result{}, &api.Error{Code: api.CodeBusy, Text: "too many commands wait; nothing was done; try again"}
	case errors.Is(err, events.ErrNoRoom):
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "the disk of the log is too full, or its free space cannot be read; nothing was done; try again when there is room"}
	case errors.Is(err, replica.ErrNotFollowing):
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "this node does not follow its cluster yet; nothing was done; try again, or ask another node"}
	}
	if err == nil && result.Changed {
		switch c.Change.(type) {
		case tenants.AddGateway, tenants.RemoveGateway:
			r.keys.await(ctx, result.Position)
		}
	}
	return result, err
}
