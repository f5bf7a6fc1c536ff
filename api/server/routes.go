package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// A route is one entry in the table of all operations of the API. The table
// determines the mux, the strict check of the query, the check of the caller's
// scope, and the OpenAPI description, which a test writes to openapi.json. The API
// answers only requests that have an entry.
//
// To add a route, declare its types in a wire*.go file of package api, where their
// comments become part of the description. Write its handler beside the others, and
// add its entry to the right part of the table:
//
//   - path and scope must agree. Every route of a tenant is below
//     /v1/tenants/{tenant}, and only such a route may have the scope tenantRead or
//     tenantWrite. New refuses other entries.
//   - query lists every parameter with its bounds. The handler gets the checked
//     parameters from queryOf.
//   - request and reply are zero values of the types of the body and the answer.
//   - handle is s.read(…) for an answer from the newest View. It is s.past(…) for
//     an answer about one tenant, now or at a moment; query then has atParam, and
//     the reply embeds AsOf. For any other answer, it is a separate handler.
//   - harmless is set for a route that changes nothing but whose method is not GET.
//     For all other routes with such a method, the intent is recorded before handle
//     is called, or by handle itself if intends is set.
//   - errors lists the codes that the route can answer with in addition to
//     commonCodes.
//
// Every read also gets the parameter at_least.
//
// Then run `make docs`, which writes openapi.json, and add the route to
// TestReadsKeepToTheirTenant or TestCommandsKeepToTheirTenant.
//
// A command needs no entry here: commandRoutes makes one from its entry in
// commands.
type route struct {
	method, path string
	// name is the name of the operation for programs, such as "listMembers".
	name string
	// summary describes the operation in one line, and doc adds details.
	summary string
	doc     string
	query   []param
	request any // nil: no body
	reply   any
	scope   scope
	errors  []api.Code
	handle  handler
	// harmless is set if the route changes nothing although its method is not GET.
	harmless bool
	// intends is set if handle records the intent itself, with details from the
	// body.
	intends bool

	// command is the command's name; empty if the route is not a command's.
	command string
}

// commonCodes are the error codes that every route can answer with.
var commonCodes = []api.Code{api.CodeBadRequest, api.CodeUnauthorized, api.CodeForbidden, api.CodeBusy, api.CodeUnavailable, api.CodeInternal}

// table returns all routes.
func (s *Server) table() []route {
	list := slices.Concat(s.installationRoutes(), s.enforcedRoutes(), s.clusterRoutes(), s.tenantRoutes(), s.sessionRoutes(), s.commandRoutes())
	for i := range list {
		rt := &list[i]
		if rt.reads() {
			rt.query = append(slices.Clip(rt.query), atLeastParam())
			rt.errors = append(slices.Clip(rt.errors), api.CodeBehind)
		}
		if rt.command == "" {
			rt.errors = append(slices.Clip(rt.errors), api.CodeNotFresh)
		}
	}
	return list
}

// installationRoutes returns the routes for operators, which concern the
// installation or all tenants, and the routes for any caller.
func (s *Server) installationRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/openapi.json", name: "openapi", scope: anyone,
			summary: "This description of the API",
			reply:   json.RawMessage{}, handle: getOpenAPI,
		},
		{
			method: http.MethodGet, path: "/v1/self", name: "self", scope: anyone,
			summary: "The caller's name and scope, as the node knows them",
			reply:   api.Self{}, handle: getSelf,
		},
		{
			method: http.MethodGet, path: "/v1/tokens", name: "listTokens", scope: operator,
			summary: "The tokens of the admin API, ordered by id",
			reply:   api.TokenList{}, handle: s.read(readTokens),
		},
		{
			method: http.MethodGet, path: "/v1/gateways", name: "listGateways", scope: operator,
			summary: "The gateways, ordered by id",
			doc:     "The list also has gateways that are not registered, if the node hears them or its configuration names them. They connect to NATS servers that the node does not run.",
			query:   []param{{name: "removed", kind: truth, doc: "true: also return removed gateways, with each of their former keys"}},
			reply:   api.GatewayList{}, handle: s.read(s.readGateways),
		},
		{
			method: http.MethodGet, path: "/v1/status", name: "status", scope: operator,
			summary: "The state of the node",
			reply:   api.Status{}, handle: s.read(s.readStatus),
		},
		{
			method: http.MethodGet, path: "/v1/log", name: "log", scope: operator,
			summary: "The changes in the whole installation, with actor, time and reason",
			doc:     logDoc,
			query:   logParams(),
			reply:   api.LogTail{}, errors: []api.Code{api.CodeConflict}, handle: s.read(s.readLog),
		},
		{
			method: http.MethodGet, path: "/v1/work", name: "work", scope: operator,
			summary: "The long operation on the log that is in progress, or the last one",
			reply:   api.Work{}, handle: s.readWork,
		},
		{
			method: http.MethodPost, path: "/v1/work", name: "startWork", scope: operator,
			summary: "Start a backup of the log, or its verification",
			doc:     "The answer does not wait for the operation to end; GET returns its progress. Accepted over the node's local socket only.",
			request: api.WorkRequest{}, reply: api.Work{}, errors: []api.Code{api.CodeInvalid}, handle: s.postWork,
		},
		{
			method: http.MethodGet, path: "/v1/services", name: "listSharedServices", scope: anyone,
			summary: "The services that all tenants share, ordered by name",
			reply:   api.SharedServiceList{}, handle: s.read(readSharedServices),
		},
		{
			method: http.MethodGet, path: "/v1/owners/{domain}", name: "owner", scope: operator,
			summary: "The tenant that a domain or service belongs to",
			reply:   api.Owner{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid}, handle: s.read(readOwner),
		},
		{
			method: http.MethodGet, path: "/v1/tenants", name: "listTenants", scope: operator,
			summary: "The tenants, ordered by id",
			query:   []param{afterParam("an id: return the tenants after it"), limitParam(defaultPage, maxPage)},
			reply:   api.TenantList{}, handle: s.read(readTenants),
		},
	}
}

// tenantRoutes returns the routes that read the state or the past of one tenant.
func (s *Server) tenantRoutes() []route {
	const tenant = "/v1/tenants/{tenant}"
	notFound := []api.Code{api.CodeNotFound}
	named := []api.Code{api.CodeNotFound, api.CodeInvalid}
	return []route{
		{
			method: http.MethodGet, path: tenant, name: "tenant", scope: tenantRead,
			summary: "A tenant with everything that belongs to it except its members",
			query:   []param{atParam()},
			reply:   api.Tenant{}, errors: notFound, handle: s.past(readTenant),
		},
		{
			method: http.MethodGet, path: tenant + "/domains", name: "listDomains", scope: tenantRead,
			summary: "A tenant's domains, ordered by name",
			query:   []param{atParam()},
			reply:   api.DomainList{}, errors: notFound, handle: s.past(readDomains),
		},
		{
			method: http.MethodGet, path: tenant + "/domains/{domain}", name: "domain", scope: tenantRead,
			summary: "A domain",
			query:   []param{atParam()},
			reply:   api.DomainReply{}, errors: named, handle: s.past(readDomain),
		},
		{
			method: http.MethodGet, path: tenant + "/services", name: "listServices", scope: tenantRead,
			summary: "A tenant's services, ordered by name",
			query:   []param{atParam()},
			reply:   api.ServiceList{}, errors: notFound, handle: s.past(readServices),
		},
		{
			method: http.MethodGet, path: tenant + "/roles", name: "listRoles", scope: tenantRead,
			summary: "A tenant's roles: the built-in roles, then its custom roles ordered by name",
			query:   []param{atParam()},
			reply:   api.RoleList{}, errors: notFound, handle: s.past(readRoles),
		},
		{
			method: http.MethodGet, path: tenant + "/roles/{role}", name: "role", scope: tenantRead,
			summary: "A role",
			query:   []param{atParam()},
			reply:   api.RoleReply{}, errors: notFound, handle: s.past(readRole),
		},
		{
			method: http.MethodGet, path: tenant + "/members", name: "listMembers", scope: tenantRead,
			summary: "A tenant's members, ordered by address",
			query:   []param{afterParam("an address: return the members after it"), limitParam(defaultPage, maxPage), atParam()},
			reply:   api.MemberList{}, errors: notFound, handle: s.past(readMembers),
		},
		{
			method: http.MethodGet, path: tenant + "/members/{jid}", name: "member", scope: tenantRead,
			summary: "An account with its roles, its permissions and the reasons for them",
			query:   []param{atParam()},
			reply:   api.MemberReply{}, errors: named, handle: s.past(readMember),
		},
		{
			method: http.MethodGet, path: tenant + "/members/{jid}/blame", name: "blameMember", scope: tenantRead,
			summary: "The command because of which an account has, or does not have, a permission",
			doc:     "A suspended account counts as not having the permission. The node reads all the tenant's commits for this answer.",
			query:   []param{permissionParam(), atParam()},
			reply:   api.BlameReply{}, errors: named, handle: s.past(s.blame),
		},
		{
			method: http.MethodGet, path: tenant + "/roles/{role}/blame", name: "blameRole", scope: tenantRead,
			summary: "The command because of which a role gives, or does not give, a permission",
			query:   []param{permissionParam(), atParam()},
			reply:   api.BlameReply{}, errors: named, handle: s.past(s.blame),
		},
		{
			method: http.MethodGet, path: tenant + "/log", name: "tenantLog", scope: tenantRead,
			summary: "The changes of a tenant, with actor, time and reason",
			doc:     logDoc,
			query:   logParams(),
			reply:   api.LogTail{}, errors: []api.Code{api.CodeNotFound, api.CodeConflict}, handle: s.read(s.readTenantLog),
		},
		{
			method: http.MethodGet, path: tenant + "/diff", name: "diff", scope: tenantRead,
			summary: "The changes of a tenant between two moments, and the accounts that gained or lost permissions",
			query:   diffParams(),
			reply:   api.DiffReply{}, errors: named, handle: s.diff,
		},
		{
			method: http.MethodGet, path: tenant + "/policy", name: "policy", scope: tenantRead,
			summary: "A tenant as a policy, which is the form that tenant.apply accepts",
			query:   []param{atParam()},
			reply:   api.PolicyReply{}, errors: notFound, handle: s.past(readPolicy),
		},
		{
			method: http.MethodPost, path: tenant + "/plan", name: "plan", scope: tenantRead,
			summary: "The changes that a policy would make to a tenant, and the accounts that would gain or lose permissions",
			doc:     "This request changes nothing. To apply the policy, send tenant.apply with if_version, or tenant.create if tenant_version is 0.",
			request: api.TenantApply{}, reply: api.PlanReply{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeExists, api.CodeConflict, api.CodeInUse},
			handle: s.postPlan, harmless: true,
		},
		{
			method: http.MethodGet, path: tenant + "/removal", name: "planRemoval", scope: operator,
			summary: "The changes that the removal of a tenant would make, and the accounts whose sessions would end",
			doc:     "This request changes nothing. To remove the tenant, send tenant.remove with if_version.",
			reply:   api.PlanReply{}, errors: notFound, handle: s.read(s.planRemoval),
		},
		{
			method: http.MethodPost, path: tenant + "/explain", name: "explain", scope: tenantRead,
			summary: "The decision on a stanza, or whether an account has a permission, with the reasons",
			doc:     "This request changes nothing. It is a POST because a stanza does not fit into a URL.",
			query:   []param{atParam()},
			request: api.ExplainRequest{}, reply: api.ExplainReply{}, errors: named, handle: s.postExplain, harmless: true,
		},
	}
}

// commandRoutes returns one route for each command. The scope comes from the
// catalogue of package tenants. Package tenants also checks the actor itself.
func (s *Server) commandRoutes() []route {
	var list []route
	for _, e := range tenants.Catalogue() {
		spec, known := s.commands[e.Name]
		if !known {
			continue // never happens: a test compares the two lists
		}
		path, scope := commandPath, tenantWrite
		if e.Installation {
			path = installationPath
		}
		if e.Operator {
			scope = operator
		}
		list = append(list, route{
			method: http.MethodPost, path: path + e.Name, name: commandName(e.Name), scope: scope,
			summary: "Carry out " + e.Name,
			request: spec.zero, reply: api.Result{}, command: e.Name,
			errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeExists, api.CodeConflict, api.CodeInUse, api.CodeUnknown},
			handle: func(w http.ResponseWriter, r *http.Request) (any, error) { return s.postCommand(w, r, spec) },
		})
	}
	return list
}

// installationPath is the path of commands on the installation.
const installationPath = "/v1/commands/"

// commandPath is the path of commands on a tenant.
const commandPath = "/v1/tenants/{tenant}/commands/"

// commandName returns the name of a command's operation: "domain.set-backends"
// becomes domainSetBackends.
func commandName(command string) string {
	words := strings.FieldsFunc(command, func(r rune) bool { return r == '.' || r == '-' })
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

// check refuses an entry that is incomplete, or whose scope could not be enforced.
func (rt *route) check() error {
	_, below := strings.CutPrefix(rt.path, "/v1/tenants/{tenant}")
	switch {
	case rt.method == "" || rt.name == "" || rt.summary == "" || rt.reply == nil || rt.handle == nil:
		return fmt.Errorf("route %s %s is not complete", rt.method, rt.path)
	case !strings.HasPrefix(rt.path, "/v1/"):
		return fmt.Errorf("route %s is not below /v1", rt.path)
	case rt.scope == nobody:
		return fmt.Errorf("route %s has no scope", rt.path)
	case below && rt.scope == anyone, !below && (rt.scope == tenantRead || rt.scope == tenantWrite):
		return fmt.Errorf("route %s cannot have the scope %q: scopes of a tenant are for paths below /v1/tenants/{tenant}, and the scope for any caller is for other paths", rt.path, rt.scope)
	case strings.Contains(rt.path, "{tenant}") && !below:
		return fmt.Errorf("route %s names a tenant but is not below /v1/tenants/{tenant}", rt.path)
	}
	for _, p := range rt.query {
		if p.name == "" || p.doc == "" || p.kind != truth && len(p.oneOf) == 0 && p.max == 0 {
			return fmt.Errorf("route %s: query parameter %q has no bound or no description", rt.path, p.name)
		}
	}
	return nil
}

// mount builds the mux from the table.
func (s *Server) mount(table []route) error {
	methods := map[string]map[string]*route{} // by path, then method
	names := map[string]bool{}
	for i := range table {
		rt := &table[i]
		if err := rt.check(); err != nil {
			return err
		}
		if names[rt.name] || methods[rt.path][rt.method] != nil {
			return fmt.Errorf("route %s %s (%s) is listed twice", rt.method, rt.path, rt.name)
		}
		names[rt.name] = true
		if methods[rt.path] == nil {
			methods[rt.path] = map[string]*route{}
		}
		methods[rt.path][rt.method] = rt
	}
	for path, by := range methods {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, by) })
	}
	s.mux.HandleFunc(commandPath+"{command}", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, tenantRead, notFound("there is no command %q", r.PathValue("command")))
	})
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, anyone, notFound("there is nothing at this path"))
	})
	return nil
}

// refuse answers with err if the caller has the scope, and otherwise with
// errForbidden.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, needs scope, err error) {
	if !callerOf(r.Context()).may(needs, r.PathValue("tenant")) {
		err = errForbidden()
	}
	s.finish(w, r, nil, err)
}

// errForbidden is the same answer to every request that the caller's scope does not
// allow. It does not reveal whether the requested object exists.
func errForbidden() error {
	return &api.Error{Code: api.CodeForbidden, Text: "you may not see or change this"}
}

// serve answers a request for a path with the route of its method. For an unknown
// method, it names only those methods that the caller may use; if there are none,
// the answer is errForbidden.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, by map[string]*route) {
	caller, tenant := callerOf(r.Context()), r.PathValue("tenant")
	rt := by[r.Method]
	if rt == nil {
		var allow []string
		for method, other := range by {
			if caller.may(other.scope, tenant) {
				allow = append(allow, method)
			}
		}
		if len(allow) == 0 {
			s.finish(w, r, nil, errForbidden())
			return
		}
		slices.Sort(allow)
		w.Header().Set("Allow", strings.Join(allow, ", "))
		s.finish(w, r, nil, &api.Error{Code: api.CodeMethod, Text: "this path accepts " + strings.Join(allow, " and ") + " only"})
		return
	}
	if !caller.may(rt.scope, tenant) {
		s.finish(w, r, nil, errForbidden())
		return
	}
	q, err := readQuery(rt, r)
	if err != nil {
		s.finish(w, r, nil, err)
		return
	}
	c := callOf(r)
	c.Operation, c.Command = rt.name, rt.command
	err = s.checkFresh(r)
	if err == nil {
		err = s.atLeast(r, rt, q)
	}
	if err != nil {
		s.finish(w, r, nil, err)
		return
	}
	if rt.changes() && rt.command == "" && !rt.intends {
		if err := s.intend(r, ""); err != nil {
			s.finish(w, r, nil, err)
			return
		}
	}
	reply, err := rt.handle(w, r.WithContext(withQuery(r.Context(), q)))
	s.finish(w, r, reply, err)
}

// changes reports whether a route may change something, so that its intent must be
// recorded first. A route with a method other than GET may, unless harmless is set.
func (rt *route) changes() bool { return rt.method != http.MethodGet && !rt.harmless }

// reads reports whether a route answers from the node's state and changes nothing.
func (rt *route) reads() bool { return !rt.changes() }

// A reader answers a read request from one View.
type reader func(r *http.Request, v *projections.View) (any, error)

// read makes a handler that answers from the newest View.
func (s *Server) read(read reader) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		v, err := s.view()
		if err != nil {
			return nil, err
		}
		return read(r, v)
	}
}
