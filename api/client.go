package api

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultSocket is the default unix socket of a policy node, for its operator.
const DefaultSocket = "/run/postern/policyd.sock"

// RequestTime bounds the time of one request at the node, from its header to its
// answer. A command in a cluster that elects a leader takes up to 45 seconds.
const RequestTime = 60 * time.Second

const (
	// clientTime bounds one request of a Client. It is longer than RequestTime, so
	// that the node's own answer arrives before the client gives up.
	clientTime = RequestTime + 10*time.Second
	// dialTime bounds the time to connect to the node.
	dialTime = 5 * time.Second
	// maxReply bounds an answer. The largest answers are pages of members and of the
	// log.
	maxReply = 64 << 20
)

// A Client is a client of the admin API. Its methods are safe for concurrent use.
// Every error is an *Error or wraps a network error.
type Client struct {
	http  *http.Client
	nodes *nodes
	token string // empty over the socket
	at    string // the moment at which tenants are read; empty: now
	// atLeast is the position that the state of reads must include; zero: any.
	atLeast uint64
	// within bounds each request in addition to its context; zero: no bound.
	within time.Duration
}

// NewClient returns a client of the node that listens on a unix socket.
func NewClient(socket string) *Client {
	dialer := &net.Dialer{Timeout: dialTime}
	return &Client{
		nodes: &nodes{bases: []string{"http://policyd"}},
		http: &http.Client{
			Timeout: clientTime,
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, "unix", socket)
				},
				DisableCompression: true,
			},
			// The API never redirects.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// NewRemoteClient returns a client of the node at an address such as
// https://admin.example.org:9524, which authenticates with a token. roots are the
// certificate authorities that it trusts; nil means those of the system. It
// refuses an address that would send the token to another machine without TLS.
//
// server can be the addresses of several nodes of a cluster, separated by commas. If
// a node cannot be reached or cannot answer, the client asks the next one. A command
// that may have reached a node is sent to the next one with the same id. Reads then
// require the state to include the client's own commands.
func NewRemoteClient(server, token string, roots *x509.CertPool) (*Client, error) {
	to := new(nodes)
	for address := range strings.SplitSeq(server, ",") {
		base, err := baseOf(strings.TrimSpace(address))
		if err != nil {
			return nil, err
		}
		to.bases = append(to.bases, base)
	}
	if _, ok := ParseToken(token); !ok {
		return nil, errors.New("that is not a token: a token has the form postern_ID_SECRET, as policyctl token create prints it")
	}
	return &Client{
		nodes: to, token: token,
		http: &http.Client{
			Timeout: clientTime,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
				TLSHandshakeTimeout: dialTime,
				TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				DisableCompression:  true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// baseOf returns the address of a node without a path.
func baseOf(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%q is no server: want an address such as https://admin.example.org:9524", server)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !isLoopback(u.Hostname()) {
			return "", fmt.Errorf("%s: a token must not be sent in clear to another machine: use https", server)
		}
	default:
		return "", fmt.Errorf("%q is no server: its address must begin with https://", server)
	}
	return u.Scheme + "://" + u.Host, nil
}

// isLoopback reports whether a host is a loopback address or localhost. It resolves
// no other name.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A CommandMeta is sent together with a command.
type CommandMeta struct {
	// ID is the command's id. If it is empty, the client makes one. If the same
	// command is sent again with the same id, the node returns the first result. A
	// different command with the same id is a conflict. Reason, IfVersion and IfLog
	// do not make a command different.
	ID string
	// Reason is the actor's own explanation, which the log keeps.
	Reason string
	// IfVersion is the version that the tenant must have; zero means any.
	IfVersion uint64
	// IfLog is the id of the log that IfVersion was read from; empty means any.
	IfLog string
}

// NewCommandID returns a new id for a command: 128 random bits in hex.
func NewCommandID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Do sends a command. After an error that is Unclear, the caller should send it
// again with the same id.
func (c *Client) Do(ctx context.Context, tenant string, cmd Command, meta CommandMeta) (Result, error) {
	args, err := json.Marshal(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("encode %s: %w", cmd.Command(), err)
	}
	if meta.ID == "" {
		meta.ID = NewCommandID() // so that the next node gets the same id
	}
	body, err := json.Marshal(CommandRequest{CommandID: meta.ID, Reason: meta.Reason, IfVersion: meta.IfVersion, IfLog: meta.IfLog, Args: args})
	if err != nil {
		return Result{}, fmt.Errorf("encode %s: %w", cmd.Command(), err)
	}
	at := path("tenants", tenant, "commands", cmd.Command())
	if tenant == "" {
		at = path("commands", cmd.Command())
	}
	result, err := ask[Result](ctx, c, request{method: http.MethodPost, path: at, body: body, repeatable: true})
	if err == nil {
		c.nodes.wrote(result.Position)
	}
	return result, err
}

// Explain asks how a stanza from or to an account of a tenant would be decided, or
// whether the account has a permission, and why.
func (c *Client) Explain(ctx context.Context, tenant string, q ExplainRequest) (ExplainReply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return ExplainReply{}, fmt.Errorf("encode the question: %w", err)
	}
	return ask[ExplainReply](ctx, c, request{method: http.MethodPost, path: path("tenants", tenant, "explain"), query: c.timed(nil), body: body, reads: true, repeatable: true})
}

// Tokens returns the tokens of the admin API.
func (c *Client) Tokens(ctx context.Context) (TokenList, error) {
	return get[TokenList](ctx, c, path("tokens"), nil)
}

// Gateways returns the gateways; with removed, it also returns the removed ones.
func (c *Client) Gateways(ctx context.Context, removed bool) (GatewayList, error) {
	var query url.Values
	if removed {
		query = url.Values{"removed": {"true"}}
	}
	return get[GatewayList](ctx, c, path("gateways"), query)
}

// Self returns the actor and the rights that the node gives to this client.
func (c *Client) Self(ctx context.Context) (Self, error) {
	return get[Self](ctx, c, path("self"), nil)
}

// MaxWait is the longest time for which the node lets a request wait. It is longer
// than a change needs to be enforced everywhere.
const MaxWait = 25 * time.Second

// Enforced waits until a position is enforced everywhere, at most for wait, in whole
// seconds up to MaxWait.
func (c *Client) Enforced(ctx context.Context, position uint64, wait time.Duration) (Enforced, error) {
	q := url.Values{"position": {strconv.FormatUint(position, 10)}}
	if wait >= time.Second {
		q.Set("wait", strconv.Itoa(int(wait/time.Second)))
	}
	return get[Enforced](ctx, c, path("enforced"), q)
}

// Status returns the state of the node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, path("status"), nil)
}

// Cluster returns the state of the cluster, as the answering node knows it.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	return get[Cluster](ctx, c, path("cluster"), nil)
}

// RemoveClusterNode takes a node, which must be stopped, out of the cluster for good.
// node can also be the name of one log server. An error that is Unclear means that it
// is unknown whether the node was removed. The request may then be repeated.
func (c *Client) RemoveClusterNode(ctx context.Context, node string, q ClusterRemove) (ClusterRemoved, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return ClusterRemoved{}, fmt.Errorf("encode the request: %w", err)
	}
	return post[ClusterRemoved](ctx, c, path("cluster", "nodes", node, "remove"), body)
}

// ClusterDiff compares the log of the answering node with the log of another node.
func (c *Client) ClusterDiff(ctx context.Context, node string) (ClusterDiff, error) {
	return get[ClusterDiff](ctx, c, path("cluster", "nodes", node, "diff"), nil)
}

// Owner returns the tenant that a domain or service belongs to.
func (c *Client) Owner(ctx context.Context, domain string) (Owner, error) {
	return get[Owner](ctx, c, path("owners", domain), nil)
}

// Tenants returns one page of the tenants: those after an id (empty: from the
// first), at most limit (0: the server's default).
func (c *Client) Tenants(ctx context.Context, after string, limit int) (TenantList, error) {
	return get[TenantList](ctx, c, path("tenants"), page(after, limit))
}

// Tenant returns one tenant.
func (c *Client) Tenant(ctx context.Context, tenant string) (Tenant, error) {
	return get[Tenant](ctx, c, path("tenants", tenant), c.timed(nil))
}

// Domains returns a tenant's domains.
func (c *Client) Domains(ctx context.Context, tenant string) (DomainList, error) {
	return get[DomainList](ctx, c, path("tenants", tenant, "domains"), c.timed(nil))
}

// Domain returns one domain of a tenant.
func (c *Client) Domain(ctx context.Context, tenant, domain string) (DomainReply, error) {
	return get[DomainReply](ctx, c, path("tenants", tenant, "domains", domain), c.timed(nil))
}

// Services returns a tenant's services.
func (c *Client) Services(ctx context.Context, tenant string) (ServiceList, error) {
	return get[ServiceList](ctx, c, path("tenants", tenant, "services"), c.timed(nil))
}

// Roles returns a tenant's roles.
func (c *Client) Roles(ctx context.Context, tenant string) (RoleList, error) {
	return get[RoleList](ctx, c, path("tenants", tenant, "roles"), c.timed(nil))
}

// Role returns one role of a tenant.
func (c *Client) Role(ctx context.Context, tenant, role string) (RoleReply, error) {
	return get[RoleReply](ctx, c, path("tenants", tenant, "roles", role), c.timed(nil))
}

// Members returns one page of a tenant's members. after and limit are as in
// Tenants.
func (c *Client) Members(ctx context.Context, tenant, after string, limit int) (MemberList, error) {
	return get[MemberList](ctx, c, path("tenants", tenant, "members"), c.timed(page(after, limit)))
}

// Member returns one account of a tenant, with its permissions and the reasons for
// them.
func (c *Client) Member(ctx context.Context, tenant, jid string) (MemberReply, error) {
	return get[MemberReply](ctx, c, path("tenants", tenant, "members", jid), c.timed(nil))
}

// A LogQuery selects commits of the log. The zero query selects the newest.
type LogQuery struct {
	// Tenant, if not empty, selects the commits of one tenant.
	Tenant string
	// After, if not nil, selects the first commits after a position. Wait is how
	// long to wait for a commit, in whole seconds up to 25.
	After *uint64
	Wait  time.Duration
	// Before, if not zero, selects the newest commits before a position.
	Before uint64
	// Since and Until, if not empty, bound the commits by moments.
	Since, Until string
	// Actor, if not empty, selects the commits of one actor.
	Actor string
	// Limit bounds the number of commits; zero means the server's default.
	Limit int
}

// Log returns a page of the log.
func (c *Client) Log(ctx context.Context, l LogQuery) (LogTail, error) {
	at := path("log")
	if l.Tenant != "" {
		at = path("tenants", l.Tenant, "log")
	}
	q := page("", l.Limit)
	if l.After != nil {
		q.Set("after", strconv.FormatUint(*l.After, 10))
	}
	if l.Wait > 0 {
		q.Set("wait", strconv.Itoa(int(l.Wait/time.Second)))
	}
	if l.Before > 0 {
		q.Set("before", strconv.FormatUint(l.Before, 10))
	}
	for name, value := range map[string]string{"since": l.Since, "until": l.Until, "actor": l.Actor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[LogTail](ctx, c, at, q)
}

// At returns a client that reads tenants as they were at a moment. The moment is a
// position, or a time in one of the forms of the API; empty means now. The new
// client shares the connections of c.
func (c *Client) At(moment string) *Client {
	at := *c
	at.at = moment
	return &at
}

// AtLeast returns a client whose reads require a state that includes a position, such
// as the position of a command that another client has sent. A node that does not have
// it within two seconds answers with CodeBehind. The new client shares the connections
// of c.
func (c *Client) AtLeast(position uint64) *Client {
	later := *c
	later.atLeast = position
	return &later
}

// Within returns a client that waits at most d for each answer, in addition to the
// request's context. If d is 0 or less, requests fail at once. The new client
// shares the connections of c.
func (c *Client) Within(d time.Duration) *Client {
	within := *c
	within.within = max(d, 1)
	return &within
}

// timed adds the moment of At to a query.
func (c *Client) timed(q url.Values) url.Values {
	if q == nil {
		q = url.Values{}
	}
	if c.at != "" {
		q.Set("at", c.at)
	}
	return q
}

// BlameMember returns the command that last changed whether an account has a
// permission.
func (c *Client) BlameMember(ctx context.Context, tenant, jid, permission string) (BlameReply, error) {
	return get[BlameReply](ctx, c, path("tenants", tenant, "members", jid, "blame"), c.timed(url.Values{"permission": {permission}}))
}

// BlameRole returns the command that last changed whether a role gives a
// permission.
func (c *Client) BlameRole(ctx context.Context, tenant, role, permission string) (BlameReply, error) {
	return get[BlameReply](ctx, c, path("tenants", tenant, "roles", role, "blame"), c.timed(url.Values{"permission": {permission}}))
}

// Diff returns the changes of a tenant between two moments, which have the same
// form as in At. An empty to means now.
func (c *Client) Diff(ctx context.Context, tenant, from, to string) (DiffReply, error) {
	q := url.Values{"from": {from}}
	if to != "" {
		q.Set("to", to)
	}
	return get[DiffReply](ctx, c, path("tenants", tenant, "diff"), q)
}

// Plan returns the changes that a policy would make to a tenant.
func (c *Client) Plan(ctx context.Context, tenant string, policy TenantApply) (PlanReply, error) {
	body, err := json.Marshal(policy)
	if err != nil {
		return PlanReply{}, fmt.Errorf("encode the policy: %w", err)
	}
	return ask[PlanReply](ctx, c, request{method: http.MethodPost, path: path("tenants", tenant, "plan"), body: body, reads: true, repeatable: true})
}

// PlanRemoval returns the changes that the removal of a tenant would make.
func (c *Client) PlanRemoval(ctx context.Context, tenant string) (PlanReply, error) {
	return get[PlanReply](ctx, c, path("tenants", tenant, "removal"), nil)
}

// ApplyPlan carries out a plan. policy is the policy that was planned, or nil for a
// removal. If the tenant has changed since the plan, or if the node has another log,
// for example after a restore, the node refuses with CodeConflict or CodeExists. The
// caller must then make a new plan.
func (c *Client) ApplyPlan(ctx context.Context, plan PlanReply, policy *TenantApply, meta CommandMeta) (Result, error) {
	meta.IfVersion, meta.IfLog = plan.TenantVersion, plan.LogID
	switch {
	case policy == nil:
		return c.Do(ctx, plan.Tenant, TenantRemove{}, meta)
	case plan.TenantVersion == 0:
		return c.Do(ctx, plan.Tenant, TenantCreate(*policy), meta)
	}
	return c.Do(ctx, plan.Tenant, *policy, meta)
}

// Policy returns a tenant in the form of a policy.
func (c *Client) Policy(ctx context.Context, tenant string) (PolicyReply, error) {
	return get[PolicyReply](ctx, c, path("tenants", tenant, "policy"), c.timed(nil))
}

// SharedServices returns the services that all tenants share.
func (c *Client) SharedServices(ctx context.Context) (SharedServiceList, error) {
	return get[SharedServiceList](ctx, c, path("services"), nil)
}

// A SessionFilter selects sessions. An empty field selects all.
type SessionFilter struct{ Account, Domain, Gateway string }

// Sessions returns one page of the live sessions of a tenant. An empty tenant means
// all tenants.
func (c *Client) Sessions(ctx context.Context, tenant string, f SessionFilter, after string, limit int) (SessionList, error) {
	q := page(after, limit)
	for name, value := range map[string]string{"account": f.Account, "domain": f.Domain, "gateway": f.Gateway} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[SessionList](ctx, c, sessionPath(tenant), q)
}

// Session returns one live session of a tenant. An empty tenant means any tenant.
func (c *Client) Session(ctx context.Context, tenant, id string) (SessionReply, error) {
	return get[SessionReply](ctx, c, sessionPath(tenant)+"/"+url.PathEscape(id), nil)
}

// EndSession ends one session. An error with CodeUnknown, or an error that is not
// an *Error, means that it is unknown whether the session was ended. The request
// may then be repeated.
func (c *Client) EndSession(ctx context.Context, tenant, id string, q SessionEnd) (SessionEnded, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return SessionEnded{}, fmt.Errorf("encode the request: %w", err)
	}
	return post[SessionEnded](ctx, c, sessionPath(tenant)+"/"+url.PathEscape(id)+"/end", body)
}

func sessionPath(tenant string) string {
	if tenant == "" {
		return path("sessions")
	}
	return path("tenants", tenant, "sessions")
}

// StartWork starts a long operation on the log.
func (c *Client) StartWork(ctx context.Context, q WorkRequest) (Work, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Work{}, fmt.Errorf("encode the request: %w", err)
	}
	return post[Work](ctx, c, path("work"), body)
}

// Work returns the long operation in progress, or the last one.
func (c *Client) Work(ctx context.Context) (Work, error) {
	return get[Work](ctx, c, path("work"), nil)
}
