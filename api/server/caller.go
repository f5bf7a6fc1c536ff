package server

import (
	"context"

	"github.com/postern-im/postern/history"
	"github.com/postern-im/postern/tenants"
)

// A scope says which callers may use a route. The zero scope allows no caller.
type scope uint8

const (
	nobody      scope = iota
	operator          // operators of the installation
	tenantRead        // operators, and callers that may read the tenant of the path
	tenantWrite       // operators, and callers that may change the tenant of the path
	anyone            // every known caller; such a route shows nothing of any tenant
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

// A caller is the sender of a request, with its rights. The zero caller is unknown
// and may do nothing.
type caller struct {
	// actor is the caller's name in the log.
	actor string
	// source is a process on this machine or a network address.
	source string
	// network is set for a request over the network. Such a request must have a
	// token. A request over the local socket has the rights of the sending process.
	network bool
	// operator is set for an operator of the installation, who may do everything.
	operator bool
	// tenant is the only tenant that the caller may read; empty for an operator. If
	// write is set, the caller may also change this tenant.
	tenant string
	write  bool
	// token is the id of the caller's token; empty on the local socket.
	token string
}

// may reports whether the caller may use a route with a scope. tenant is the tenant
// of the path; empty if the path has none.
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

// asActor returns the caller in the form of package tenants. That package checks
// the caller's rights once more. The actor has a tenant only if the caller may
// change it.
func (c caller) asActor() tenants.Actor {
	a := tenants.Actor{Name: c.actor, Operator: c.operator, Token: c.token}
	if c.write {
		a.Tenant = c.tenant
	}
	return a
}

// inHistory returns the caller in the form of package history.
func (c caller) inHistory() history.Caller {
	return history.Caller{Operator: c.operator, Tenant: c.tenant}
}

// scope returns the name of the caller's scope.
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

// callerOf returns the caller of a request. An unknown caller is the zero caller,
// whose requests are refused.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
