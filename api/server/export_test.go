package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// MaxRunning bounds the requests being worked on.
const MaxRunning = maxRunning

// MaxNetwork bounds those that came over the network, MaxTenants those of all
// tenants, MaxShare one tenant's.
const (
	MaxNetwork = maxNetwork
	MaxTenants = maxTenants
	MaxShare   = maxShare
)

// MaxFollowers bounds the requests that wait for the log, MaxTenantFollowers
// those of all tenants.
const (
	MaxFollowers       = maxFollowers
	MaxTenantFollowers = maxTenantFollowers
)

// CommandNames lists the commands the server knows, sorted.
func CommandNames() []string {
	var names []string
	for name := range commands() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ReadPaths lists the paths of the reads of tenants and for operators, sorted.
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

// A Line is a route's line in the table.
type Line struct {
	Name, Method, Path, Scope, Command string
	Changes                            bool
	// Request is the zero value of what is read; nil: it has no body.
	Request any
}

// Lines are the table.
func Lines() []Line {
	var list []Line
	for _, rt := range (&Server{commands: commands()}).table() {
		list = append(list, Line{rt.name, rt.method, rt.path, rt.scope.String(), rt.command, rt.changes(), rt.request})
	}
	return list
}

// OpenAPI is the description the server answers with.
var OpenAPI = openapi

// Tap puts a handler around the mux.
func (s *Server) Tap(around func(http.Handler) http.Handler) {
	outer := http.NewServeMux()
	outer.Handle("/", around(s.mux))
	s.mux = outer
}

// WithCaller is the context of a request by somebody.
func WithCaller(ctx context.Context, actor string, operator bool, tenant string, write bool) context.Context {
	return withCaller(ctx, caller{actor: actor, source: "test", operator: operator, tenant: tenant, write: write})
}

// Bearer reads a header.
var Bearer = bearer
