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

// A route is one line of the table of everything the API answers. All else is
// derived from it: the mux, the strict check of the query, who may use it, and
// (by a test, which writes openapi.json) the OpenAPI description. What has no
// line does not exist.
//
// To add one, write its types into a wire*.go file of package api (whose comments
// become the description's), its handler beside the others, and its line into the part of
// table it belongs to:
//
//   - path says whose it is: everything of a tenant stands below
//     /v1/tenants/{tenant}, and its scope is tenantRead or tenantWrite; the rest
//     is the operator's. New refuses a line where the two differ.
//   - query lists every parameter with its bounds; the handler finds them,
//     checked, by queryOf.
//   - request and reply are zero values of what is read and written.
//   - handle is s.read(…) for what is answered from the newest View, s.past(…)
//     with atParam for what is answered from one tenant, now or at a moment
//     (its reply embeds AsOf), and a handler of its own otherwise.
//   - harmless is set for what is no GET and changes nothing; for all else that
//     is no GET, the intent is recorded before handle is called, or by handle
//     where intends is set.
//   - errors lists the codes it answers with beside those in commonCodes.
//
// Then run `make docs`, which writes openapi.json, and give the route its line
// in the test of two tenants.
//
// A command on a tenant needs no line here: its entry in commands makes one.
type route struct {
	method, path string
	// name is the operation's own, as a program would call it: "listMembers".
	name string
	// summary says what it is for in one line, doc what else must be known.
	summary string
	doc     string
	query   []param
	request any // nil: it has no body
	reply   any
	scope   scope
	errors  []api.Code
	handle  handler
	// harmless is set when the route changes nothing though it is no GET.
	harmless bool
	// intends is set when handle itself records the intent, with what the body
	// says.
	intends bool

	// command is the command's name, for the routes that carry one out.
	command string
}

// commonCodes are those every route may answer with.
var commonCodes = []api.Code{api.CodeBadRequest, api.CodeUnauthorized, api.CodeForbidden, api.CodeBusy, api.CodeUnavailable, api.CodeInternal}

// table is every route.
func (s *Server) table() []route {
	return slices.Concat(s.installationRoutes(), s.tenantRoutes(), s.sessionRoutes(), s.commandRoutes())
}

// installationRoutes are those that concern no tenant, or all: the operator's.
func (s *Server) installationRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/v1/openapi.json", name: "openapi", scope: anyone,
			summary: "This description",
			reply:   json.RawMessage{}, handle: getOpenAPI,
		},
		{
			method: http.MethodGet, path: "/v1/self", name: "self", scope: anyone,
			summary: "Who the caller is to the node, and what it may do",
			reply:   api.Self{}, handle: getSelf,
		},
		{
			method: http.MethodGet, path: "/v1/tokens", name: "listTokens", scope: operator,
			summary: "The tokens of the admin API, by id",
			reply:   api.TokenList{}, handle: s.read(readTokens),
		},
		{
			method: http.MethodGet, path: "/v1/status", name: "status", scope: operator,
			summary: "How the node is",
			reply:   api.Status{}, handle: s.read(s.readStatus),
		},
		{
			method: http.MethodGet, path: "/v1/log", name: "log", scope: operator,
			summary: "Who changed what, when and why, in the whole installation",
			doc:     logDoc,
			query:   logParams(),
			reply:   api.LogTail{}, errors: []api.Code{api.CodeConflict}, handle: s.read(s.readLog),
		},
		{
			method: http.MethodGet, path: "/v1/work", name: "work", scope: operator,
			summary: "The long work on the log that is under way, or the last one",
			reply:   api.Work{}, handle: s.readWork,
		},
		{
			method: http.MethodPost, path: "/v1/work", name: "startWork", scope: operator,
			summary: "Begin a backup of the log, or its verification",
			doc:     "It is answered at once; see GET for how far it is. Over the node's local socket only.",
			request: api.WorkRequest{}, reply: api.Work{}, errors: []api.Code{api.CodeInvalid}, handle: s.postWork,
		},
		{
			method: http.MethodGet, path: "/v1/services", name: "listSharedServices", scope: anyone,
			summary: "The services of the installation, by name: local to every tenant",
			reply:   api.SharedServiceList{}, handle: s.read(readSharedServices),
		},
		{
			method: http.MethodGet, path: "/v1/owners/{domain}", name: "owner", scope: operator,
			summary: "Whose a domain or service is",
			reply:   api.Owner{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid}, handle: s.read(readOwner),
		},
		{
			method: http.MethodGet, path: "/v1/tenants", name: "listTenants", scope: operator,
			summary: "The tenants, by id",
			query:   []param{afterParam("an id: answer with the tenants behind it"), limitParam(defaultPage, maxPage)},
			reply:   api.TenantList{}, handle: s.read(readTenants),
		},
	}
}

// tenantRoutes are what is read of one tenant.
func (s *Server) tenantRoutes() []route {
	const tenant = "/v1/tenants/{tenant}"
	notFound := []api.Code{api.CodeNotFound}
	named := []api.Code{api.CodeNotFound, api.CodeInvalid}
	return []route{
		{
			method: http.MethodGet, path: tenant, name: "tenant", scope: tenantRead,
			summary: "A tenant with what belongs to it, but for its members",
			query:   []param{atParam()},
			reply:   api.Tenant{}, errors: notFound, handle: s.past(readTenant),
		},
		{
			method: http.MethodGet, path: tenant + "/domains", name: "listDomains", scope: tenantRead,
			summary: "A tenant's domains, by name",
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
			summary: "A tenant's services, by name",
			query:   []param{atParam()},
			reply:   api.ServiceList{}, errors: notFound, handle: s.past(readServices),
		},
		{
			method: http.MethodGet, path: tenant + "/roles", name: "listRoles", scope: tenantRead,
			summary: "A tenant's roles: the built-in ones, then its own by name",
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
			summary: "A tenant's members, by address",
			query:   []param{afterParam("an address: answer with the members behind it"), limitParam(defaultPage, maxPage), atParam()},
			reply:   api.MemberList{}, errors: notFound, handle: s.past(readMembers),
		},
		{
			method: http.MethodGet, path: tenant + "/members/{jid}", name: "member", scope: tenantRead,
			summary: "An account: its roles, what it may do, and why",
			query:   []param{atParam()},
			reply:   api.MemberReply{}, errors: named, handle: s.past(readMember),
		},
		{
			method: http.MethodGet, path: tenant + "/members/{jid}/blame", name: "blameMember", scope: tenantRead,
			summary: "Which command made that an account has a permission, or has it not",
			doc:     "Suspended counts as not having it. The tenant's whole history is folded for it.",
			query:   []param{permissionParam(), atParam()},
			reply:   api.BlameReply{}, errors: named, handle: s.past(s.blame),
		},
		{
			method: http.MethodGet, path: tenant + "/roles/{role}/blame", name: "blameRole", scope: tenantRead,
			summary: "Which command made that a role gives a permission, or does not",
			query:   []param{permissionParam(), atParam()},
			reply:   api.BlameReply{}, errors: named, handle: s.past(s.blame),
		},
		{
			method: http.MethodGet, path: tenant + "/log", name: "tenantLog", scope: tenantRead,
			summary: "Who changed what of a tenant, when and why",
			doc:     logDoc,
			query:   logParams(),
			reply:   api.LogTail{}, errors: []api.Code{api.CodeNotFound, api.CodeConflict}, handle: s.read(s.readTenantLog),
		},
		{
			method: http.MethodGet, path: tenant + "/diff", name: "diff", scope: tenantRead,
			summary: "What changed of a tenant between two moments, and who gained and lost what",
			query:   diffParams(),
			reply:   api.DiffReply{}, errors: named, handle: s.diff,
		},
		{
			method: http.MethodGet, path: tenant + "/policy", name: "policy", scope: tenantRead,
			summary: "A tenant as a policy, which tenant.apply takes",
			query:   []param{atParam()},
			reply:   api.PolicyReply{}, errors: notFound, handle: s.past(readPolicy),
		},
		{
			method: http.MethodPost, path: tenant + "/plan", name: "plan", scope: tenantRead,
			summary: "What a policy would change of a tenant, and who would gain and lose what",
			doc:     "It changes nothing. Apply it with tenant.apply and if_version, or with tenant.create where tenant_version is 0.",
			request: api.TenantApply{}, reply: api.PlanReply{}, errors: []api.Code{api.CodeNotFound, api.CodeInvalid, api.CodeExists, api.CodeConflict, api.CodeInUse},
			handle: s.postPlan, harmless: true,
		},
		{
			method: http.MethodGet, path: tenant + "/removal", name: "planRemoval", scope: operator,
			summary: "What the removal of a tenant would change, and whose sessions would end",
			doc:     "It changes nothing. Remove it with tenant.remove and if_version.",
			reply:   api.PlanReply{}, errors: notFound, handle: s.read(s.planRemoval),
		},
		{
			method: http.MethodPost, path: tenant + "/explain", name: "explain", scope: tenantRead,
			summary: "What would become of a stanza, or whether an account has a permission, and why",
			doc:     "It changes nothing; it is a POST because a stanza does not fit an address.",
			query:   []param{atParam()},
			request: api.ExplainRequest{}, reply: api.ExplainReply{}, errors: named, handle: s.postExplain, harmless: true,
		},
	}
}

// commandRoutes are the commands, one route each. Who may give one is said by
// the catalogue of tenants, which checks it once more.
func (s *Server) commandRoutes() []route {
	var list []route
	for _, e := range tenants.Catalogue() {
		spec, known := s.commands[e.Name]
		if !known {
			continue // a test says that there is none
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

// installationPath is where commands stand that concern no tenant.
const installationPath = "/v1/commands/"

const commandPath = "/v1/tenants/{tenant}/commands/"

// commandName is a command's name as an operation's: "domain.set-backends" is
// domainSetBackends.
func commandName(command string) string {
	words := strings.FieldsFunc(command, func(r rune) bool { return r == '.' || r == '-' })
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

// check refuses a line that is not complete or could not be guarded.
func (rt *route) check() error {
	_, below := strings.CutPrefix(rt.path, "/v1/tenants/{tenant}")
	switch {
	case rt.method == "" || rt.name == "" || rt.summary == "" || rt.reply == nil || rt.handle == nil:
		return fmt.Errorf("route %s %s is not complete", rt.method, rt.path)
	case !strings.HasPrefix(rt.path, "/v1/"):
		return fmt.Errorf("route %s is outside /v1", rt.path)
	case rt.scope == nobody:
		return fmt.Errorf("route %s is for nobody: give it a scope", rt.path)
	case below && rt.scope == anyone, !below && (rt.scope == tenantRead || rt.scope == tenantWrite):
		return fmt.Errorf("route %s cannot have the scope %q: only paths below a tenant have a tenant's scope, and none of them is for anyone", rt.path, rt.scope)
	case strings.Contains(rt.path, "{tenant}") && !below:
		return fmt.Errorf("route %s names a tenant elsewhere than below /v1/tenants", rt.path)
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
		s.refuse(w, r, anyone, notFound("there is nothing at this address"))
	})
	return nil
}

// refuse answers with err those who may know it.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, needs scope, err error) {
	if !callerOf(r.Context()).may(needs, r.PathValue("tenant")) {
		err = errForbidden()
	}
	s.finish(w, r, nil, err)
}

// errForbidden is the one answer to everything that is not for the caller,
// whether it exists or not.
func errForbidden() error {
	return &api.Error{Code: api.CodeForbidden, Text: "this is not yours to see or to change"}
}

// serve answers a request for a path by its method. Who may not use any
// method of the path does not learn which there are.
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
		s.finish(w, r, nil, &api.Error{Code: api.CodeMethod, Text: "this address takes " + strings.Join(allow, " and ") + " only"})
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
	if rt.changes() && rt.command == "" && !rt.intends {
		if err := s.intend(r, ""); err != nil {
			s.finish(w, r, nil, err)
			return
		}
	}
	reply, err := rt.handle(w, r.WithContext(withQuery(r.Context(), q)))
	s.finish(w, r, reply, err)
}

// changes reports whether a route may change something, so that its intent is
// recorded first: unless its line says otherwise, each that is no GET.
func (rt *route) changes() bool { return rt.method != http.MethodGet && !rt.harmless }

// A reader answers a read from one View.
type reader func(r *http.Request, v *projections.View) (any, error)

// read makes a handler of what is answered from the newest View.
func (s *Server) read(read reader) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		v, err := s.view()
		if err != nil {
			return nil, err
		}
		return read(r, v)
	}
}
