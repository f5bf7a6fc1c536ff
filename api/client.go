package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultSocket is where a policy node listens for its operator.
const DefaultSocket = "/run/postern/policyd.sock"

// RequestTime bounds one request at the node, from its header to its answer.
const RequestTime = 30 * time.Second

const (
	// clientTime bounds one request of a Client: a little more than the
	// server's own bound, so that the server's answer is heard.
	clientTime = RequestTime + 10*time.Second
	// dialTime bounds the connecting, which on one machine is at once or not
	// at all.
	dialTime = 5 * time.Second
	// maxReply bounds an answer: a page of members or of the log.
	maxReply = 64 << 20
)

// A Client is the admin's end of the API. Its methods may be called at the
// same time. Every error is an *Error or wraps the one of the network.
type Client struct {
	http  *http.Client
	base  string
	token string // empty over the socket
	at    string // the moment tenants are read at; empty: now
	// within bounds each request besides its context; zero: no further bound.
	within time.Duration
}

// NewClient makes a client of the node that listens on a unix socket.
func NewClient(socket string) *Client {
	dialer := &net.Dialer{Timeout: dialTime}
	return &Client{
		base: "http://policyd",
		http: &http.Client{
			Timeout: clientTime,
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, "unix", socket)
				},
				DisableCompression: true,
			},
			// The API redirects nowhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// NewRemoteClient makes a client of the node at an address such as
// https://admin.example.org:9524, by a token. roots are who is trusted to say
// that it is that node; nil are those of the system. It refuses to send a
// token in clear to another machine.
func NewRemoteClient(server, token string, roots *x509.CertPool) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%q is no server: give one such as https://admin.example.org:9524", server)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !isLoopback(u.Hostname()) {
			return nil, fmt.Errorf("%s: a token is not sent in clear to another machine: use https", server)
		}
	default:
		return nil, fmt.Errorf("%q is no server: its address begins with https://", server)
	}
	if _, ok := ParseToken(token); !ok {
		return nil, errors.New("that is not a token: one is postern_ID_SECRET, as policyctl token create prints it")
	}
	return &Client{
		base: u.Scheme + "://" + u.Host, token: token,
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

// isLoopback reports whether a host is this machine, whatever names resolve to.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A CommandMeta goes with a command.
type CommandMeta struct {
	// ID is the command's own id; empty makes a new one. The same id again
	// gives the first result, with another command a conflict; with another
	// reason or version expected it is the same command.
	ID string
	// Reason is the actor's own words, kept in the log.
	Reason string
	// IfVersion, where not zero, is the version the tenant must have.
	IfVersion uint64
	// IfLog, where given, is the id of the log in which it was read.
	IfLog string
}

// NewCommandID makes an id for a command: 128 random bits in hex.
func NewCommandID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Do gives a command. After an error that is Unclear, do it again with the same
// id.
func (c *Client) Do(ctx context.Context, tenant string, cmd Command, meta CommandMeta) (Result, error) {
	args, err := json.Marshal(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("encode %s: %w", cmd.Command(), err)
	}
	body, err := json.Marshal(CommandRequest{CommandID: meta.ID, Reason: meta.Reason, IfVersion: meta.IfVersion, IfLog: meta.IfLog, Args: args})
	if err != nil {
		return Result{}, fmt.Errorf("encode %s: %w", cmd.Command(), err)
	}
	at := path("tenants", tenant, "commands", cmd.Command())
	if tenant == "" {
		at = path("commands", cmd.Command())
	}
	return post[Result](ctx, c, at, body)
}

// Explain asks what would become of a stanza of a tenant's account, or
// whether it has a permission, and why.
func (c *Client) Explain(ctx context.Context, tenant string, q ExplainRequest) (ExplainReply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return ExplainReply{}, fmt.Errorf("encode the question: %w", err)
	}
	at := path("tenants", tenant, "explain")
	if c.at != "" {
		at += "?" + c.timed(nil).Encode()
	}
	return post[ExplainReply](ctx, c, at, body)
}

// Tokens reads the tokens of the admin API.
func (c *Client) Tokens(ctx context.Context) (TokenList, error) {
	return get[TokenList](ctx, c, path("tokens"), nil)
}

// Self reads who this client is to the node.
func (c *Client) Self(ctx context.Context) (Self, error) {
	return get[Self](ctx, c, path("self"), nil)
}

// Status reads how the node is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, path("status"), nil)
}

// Owner reads whose a domain or service is.
func (c *Client) Owner(ctx context.Context, domain string) (Owner, error) {
	return get[Owner](ctx, c, path("owners", domain), nil)
}

// Tenants reads one page of the tenants: those after an id (empty: from the
// first), at most limit (0: the server's choice).
func (c *Client) Tenants(ctx context.Context, after string, limit int) (TenantList, error) {
	return get[TenantList](ctx, c, path("tenants"), page(after, limit))
}

// Tenant reads one tenant.
func (c *Client) Tenant(ctx context.Context, tenant string) (Tenant, error) {
	return get[Tenant](ctx, c, path("tenants", tenant), c.timed(nil))
}

// Domains reads a tenant's domains.
func (c *Client) Domains(ctx context.Context, tenant string) (DomainList, error) {
	return get[DomainList](ctx, c, path("tenants", tenant, "domains"), c.timed(nil))
}

// Domain reads one domain of a tenant.
func (c *Client) Domain(ctx context.Context, tenant, domain string) (DomainReply, error) {
	return get[DomainReply](ctx, c, path("tenants", tenant, "domains", domain), c.timed(nil))
}

// Services reads a tenant's services.
func (c *Client) Services(ctx context.Context, tenant string) (ServiceList, error) {
	return get[ServiceList](ctx, c, path("tenants", tenant, "services"), c.timed(nil))
}

// Roles reads a tenant's roles.
func (c *Client) Roles(ctx context.Context, tenant string) (RoleList, error) {
	return get[RoleList](ctx, c, path("tenants", tenant, "roles"), c.timed(nil))
}

// Role reads one role of a tenant.
func (c *Client) Role(ctx context.Context, tenant, role string) (RoleReply, error) {
	return get[RoleReply](ctx, c, path("tenants", tenant, "roles", role), c.timed(nil))
}

// Members reads one page of a tenant's members, as Tenants does.
func (c *Client) Members(ctx context.Context, tenant, after string, limit int) (MemberList, error) {
	return get[MemberList](ctx, c, path("tenants", tenant, "members"), c.timed(page(after, limit)))
}

// Member reads one account of a tenant: what it may do, and why.
func (c *Client) Member(ctx context.Context, tenant, jid string) (MemberReply, error) {
	return get[MemberReply](ctx, c, path("tenants", tenant, "members", jid), c.timed(nil))
}

// A LogQuery says which commits to read. The zero query is for the newest.
type LogQuery struct {
	// Tenant, where set, keeps to one tenant's.
	Tenant string
	// After, where not nil, is for the first ones behind a position, and Wait
	// how long to wait until there are any, in whole seconds up to 25.
	After *uint64
	Wait  time.Duration
	// Before, where not zero, is for the newest ones before a position.
	Before uint64
	// Since and Until, where set, are moments that bound them.
	Since, Until string
	// Actor, where set, keeps to those of one actor.
	Actor string
	// Limit bounds their number; zero is the server's choice.
	Limit int
}

// Log reads a page of the log.
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

// At is a client that reads tenants as they were at a moment: a position, or
// a time in one of the forms of the API; empty is now. It shares the
// connections of c.
func (c *Client) At(moment string) *Client {
	at := *c
	at.at = moment
	return &at
}

// Within is a client that waits at most d for each answer, however many requests
// are made in one context; a d of 0 or less is over at once. It shares the
// connections of c.
func (c *Client) Within(d time.Duration) *Client {
	within := *c
	within.within = max(d, 1)
	return &within
}

// timed adds the moment to a query.
func (c *Client) timed(q url.Values) url.Values {
	if q == nil {
		q = url.Values{}
	}
	if c.at != "" {
		q.Set("at", c.at)
	}
	return q
}

// BlameMember reads which command made that an account has a permission or
// has it not.
func (c *Client) BlameMember(ctx context.Context, tenant, jid, permission string) (BlameReply, error) {
	return get[BlameReply](ctx, c, path("tenants", tenant, "members", jid, "blame"), c.timed(url.Values{"permission": {permission}}))
}

// BlameRole reads the same of a role.
func (c *Client) BlameRole(ctx context.Context, tenant, role, permission string) (BlameReply, error) {
	return get[BlameReply](ctx, c, path("tenants", tenant, "roles", role, "blame"), c.timed(url.Values{"permission": {permission}}))
}

// Diff reads what changed of a tenant between two moments, as At takes them;
// an empty to is now.
func (c *Client) Diff(ctx context.Context, tenant, from, to string) (DiffReply, error) {
	q := url.Values{"from": {from}}
	if to != "" {
		q.Set("to", to)
	}
	return get[DiffReply](ctx, c, path("tenants", tenant, "diff"), q)
}

// Plan asks what a policy would change of a tenant.
func (c *Client) Plan(ctx context.Context, tenant string, policy TenantApply) (PlanReply, error) {
	body, err := json.Marshal(policy)
	if err != nil {
		return PlanReply{}, fmt.Errorf("encode the policy: %w", err)
	}
	return post[PlanReply](ctx, c, path("tenants", tenant, "plan"), body)
}

// PlanRemoval asks what the removal of a tenant would change.
func (c *Client) PlanRemoval(ctx context.Context, tenant string) (PlanReply, error) {
	return get[PlanReply](ctx, c, path("tenants", tenant, "removal"), nil)
}

// ApplyPlan makes a tenant what a plan says. policy is the one that was planned,
// nil for a removal. The node refuses it with CodeConflict, or with CodeExists,
// when the tenant has changed since the plan, or when the node has another log,
// as after a restore: then plan again.
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

// Policy reads a tenant as a policy.
func (c *Client) Policy(ctx context.Context, tenant string) (PolicyReply, error) {
	return get[PolicyReply](ctx, c, path("tenants", tenant, "policy"), c.timed(nil))
}

// SharedServices lists the services of the installation.
func (c *Client) SharedServices(ctx context.Context) (SharedServiceList, error) {
	return get[SharedServiceList](ctx, c, path("services"), nil)
}

// A SessionFilter says which sessions to list; empty is any.
type SessionFilter struct{ Account, Domain, Gateway string }

// Sessions reads one page of the live sessions of a tenant, or of all (empty).
func (c *Client) Sessions(ctx context.Context, tenant string, f SessionFilter, after string, limit int) (SessionList, error) {
	q := page(after, limit)
	for name, value := range map[string]string{"account": f.Account, "domain": f.Domain, "gateway": f.Gateway} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[SessionList](ctx, c, sessionPath(tenant), q)
}

// Session reads one live session of a tenant, or of any (empty).
func (c *Client) Session(ctx context.Context, tenant, id string) (SessionReply, error) {
	return get[SessionReply](ctx, c, sessionPath(tenant)+"/"+url.PathEscape(id), nil)
}

// EndSession ends one. An error of CodeUnknown, or one that is no *Error, says
// that it is not known whether it was; it may be given again.
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

// StartWork begins long work on the log.
func (c *Client) StartWork(ctx context.Context, q WorkRequest) (Work, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Work{}, fmt.Errorf("encode the request: %w", err)
	}
	return post[Work](ctx, c, path("work"), body)
}

// Work gives the long work under way, or the last one.
func (c *Client) Work(ctx context.Context) (Work, error) {
	return get[Work](ctx, c, path("work"), nil)
}

// path joins segments below /v1, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func page(after string, limit int) url.Values {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

func get[T any](ctx context.Context, c *Client, at string, q url.Values) (T, error) {
	if len(q) > 0 {
		at += "?" + q.Encode()
	}
	return ask[T](ctx, c, http.MethodGet, at, nil)
}

func post[T any](ctx context.Context, c *Client, at string, body []byte) (T, error) {
	return ask[T](ctx, c, http.MethodPost, at, body)
}

// ask asks and reads the answer. Fields this version does not know are passed
// over: a newer node may say more.
func ask[T any](ctx context.Context, c *Client, method, at string, body []byte) (reply T, err error) {
	if c.within > 0 {
		within, cancel := context.WithTimeout(ctx, c.within)
		defer cancel()
		ctx = within
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+at, bytes.NewReader(body))
	if err != nil {
		return reply, fmt.Errorf("ask for %s: %w", at, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var at *url.Error // its text is the address, which means nothing to anybody
		if errors.As(err, &at) {
			err = at.Err
		}
		return reply, fmt.Errorf("ask the policy node: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	switch {
	case err != nil:
		return reply, fmt.Errorf("read the policy node's answer: %w", err)
	case len(text) > maxReply:
		return reply, &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node's answer is larger than %d bytes", maxReply)}
	case answer.StatusCode != http.StatusOK:
		return reply, failure(answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return reply, &Error{Code: CodeBadResponse, Text: "the policy node's answer cannot be read: " + err.Error()}
	}
	return reply, nil
}

// failure reads an answer that is not a success.
func failure(status int, body []byte) error {
	var e ErrorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node answered %d %s", status, http.StatusText(status))}
	}
	return e.Error
}
