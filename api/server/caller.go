package server

import (
	"context"

	"github.com/postern-im/postern/history"
	"github.com/postern-im/postern/tenants"
)

// A scope says who may use a route. The zero scope is nobody's.
type scope uint8

const (
	nobody      scope = iota
	operator          // those who run the installation
	tenantRead        // also who may read the tenant of the path
	tenantWrite       // also who may change the tenant of the path
	anyone            // whoever the node knows; nothing of any tenant stands here
)

func (s scope) String() string {
	switch s {
	case operator:
		return "operator"
	case tenantRead:
		return "tenant read"
	case tenantWrite:
		return "tenant write"
	case anyone:
		return "any"
	}
	return "nobody"
}

// A caller is who makes a request, and what it may do. The zero caller is not
// known and may do nothing.
type caller struct {
	// actor is how the log knows it.
	actor string
	// source is where it comes from: a process on this machine, or an address.
	source string
	// network is set for what came over the network, where a token stands for
	// the caller, and no process of this machine.
	network bool
	// operator is set for those who run the installation: they may do all.
	operator bool
	// tenant is, for anyone else, the one tenant it may read, and with write
	// change.
	tenant string
	write  bool
	// token is the id of the token that stands for it; empty: none does.
	token string
}

// may reports whether the caller may use a route of a scope for a tenant; the
// tenant is empty where the route's path names none.
func (c caller) may(s scope, tenant string) bool {
	if c.actor == "" || s == nobody {
		return false
	}
	if c.operator || s == anyone {
		return true
	}
	own := tenant != "" && tenant == c.tenant
	switch s {
	case tenantRead:
		return own
	case tenantWrite:
		return own && c.write
	}
	return false
}

// asActor is the caller as tenants knows it, which checks once more what it
// may do. Who may change nothing administers no tenant.
func (c caller) asActor() tenants.Actor {
	a := tenants.Actor{Name: c.actor, Operator: c.operator, Token: c.token}
	if c.write {
		a.Tenant = c.tenant
	}
	return a
}

// inHistory is the caller as history knows it.
func (c caller) inHistory() history.Caller {
	return history.Caller{Operator: c.operator, Tenant: c.tenant}
}

// scope is what the caller may do, in words.
func (c caller) scope() string {
	switch {
	case c.actor == "":
		return nobody.String()
	case c.operator:
		return operator.String()
	case c.write:
		return tenantWrite.String()
	}
	return tenantRead.String()
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is who makes a request; the zero caller when that is not known, and
// then nothing is answered.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
