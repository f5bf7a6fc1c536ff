package main

import (
	"context"
	"errors"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// An adminRunner is the node as the admin API knows it: what the node says
// plainly was not carried out, the API may say so as well.
type adminRunner struct{ *node.Node }

// Execute carries out a command.
func (r adminRunner) Execute(ctx context.Context, c tenants.Command) (tenants.Result, error) {
	switch err := r.Ready(); {
	case errors.Is(err, node.ErrNotReady):
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "the node has not caught up with the log yet; nothing was done"}
	case err != nil:
		return tenants.Result{}, &api.Error{Code: api.CodeUnavailable, Text: "the node has stopped deciding; nothing was done; its log says why"}
	}
	result, err := r.Node.Execute(ctx, c)
	if errors.Is(err, node.ErrBusy) {
		return tenants.Result{}, &api.Error{Code: api.CodeBusy, Text: "too many commands wait; nothing was done; try again"}
	}
	return result, err
}
