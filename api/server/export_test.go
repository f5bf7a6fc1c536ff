package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// MaxRunning bounds the requests in progress.
const MaxRunning = maxRunning

// MaxNetwork bounds the requests over the network, MaxTenants the requests of all
// tenants, and MaxShare the requests of one tenant.
const (
	MaxNetwork = maxNetwork
	MaxTenants = maxTenants
	MaxShare   = maxShare
)

// MaxFollowers bounds the requests that wait for the log, and MaxTenantFollowers the
// waiting requests of all tenants.
const (
	MaxFollowers       = maxFollowers
	MaxTenantFollowers = maxTenantFollowers
)

// CommandNames returns the names of all commands, sorted.
func CommandNames() []string {
	var names []string
	for name := range commands() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadPaths returns the sorted paths of all GET routes, except those for any caller.
func ReadPaths() []string {
	var list []string
	for _, rt := range (&Server{commands: commands()}).table() {
		if rt.method == http.MethodGet && rt.scope != anyone {
			list = append(list, rt.path)
		}
	}
	slices.SortFunc(list, strings.Compare)
	return list
}

// A Line describes one route of the table.
type Line struct {
	Name, Method, Path, Scope, Command string
	Changes                            bool
	// Request is the zero value of the body's type; nil: no body.
	Request any
}

// Lines returns the table of routes.
func Lines() []Line {
	var list []Line
	for _, rt := range (&Server{commands: commands()}).table() {
		list = append(list, Line{rt.name, rt.method, rt.path, rt.scope.String(), rt.command, rt.changes(), rt.request})
	}
	return list
}

// OpenAPI is the description that the server returns.
var OpenAPI = openapi

// Tap wraps the server's mux with a handler.
func (s *Server) Tap(around func(http.Handler) http.Handler) {
	outer := http.NewServeMux()
	outer.Handle("/", around(s.mux))
	s.mux = outer
}

// WithCaller returns a context with a caller.
func WithCaller(ctx context.Context, actor string, operator bool, tenant string, write bool) context.Context {
	return withCaller(ctx, caller{actor: actor, source: "test", operator: operator, tenant: tenant, write: write})
}

// Bearer returns the token in a header.
var Bearer = bearer
