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
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// clientTime bounds one request of a Client: a little more than the
	// server's own bound, so that the server's answer is heard.
	clientTime = requestTime + 10*time.Second
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
		if !loopbackHost(u.Host) {
			return nil, fmt.Errorf("%s: a token is not sent in clear to another machine: use https", server)
		}
	default:
		return nil, fmt.Errorf("%q is no server: its address begins with https://", server)
	}
	if _, ok := parseToken(token); !ok {
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

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A CommandMeta goes with a command.
type CommandMeta struct {
	// ID is the command's own id; empty makes a new one. The same id again
	// gives the first result.
	ID string
	// Reason is the actor's own words, kept in the log.
	Reason string
	// IfVersion, where not zero, is the version the tenant must have.
	IfVersion uint64
}

// NewCommandID makes an id for a command: 128 random bits in hex.
func NewCommandID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Do gives a command. An error of CodeUnknown, or one that is no *Error, says
// that the outcome is not known: do it again with the same id.
func (c *Client) Do(ctx context.Context, tenant string, cmd Command, meta CommandMeta) (Result, error) {
	args, err := json.Marshal(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("encode %s: %w", cmd.Command(), err)
	}
	body, err := json.Marshal(commandRequest{CommandID: meta.ID, Reason: meta.Reason, IfVersion: meta.IfVersion, Args: args})
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
	return post[ExplainReply](ctx, c, path("tenants", tenant, "explain"), body)
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
	return get[Tenant](ctx, c, path("tenants", tenant), nil)
}

// Domains reads a tenant's domains.
func (c *Client) Domains(ctx context.Context, tenant string) (DomainList, error) {
	return get[DomainList](ctx, c, path("tenants", tenant, "domains"), nil)
}

// Domain reads one domain of a tenant.
func (c *Client) Domain(ctx context.Context, tenant, domain string) (DomainReply, error) {
	return get[DomainReply](ctx, c, path("tenants", tenant, "domains", domain), nil)
}

// Services reads a tenant's services.
func (c *Client) Services(ctx context.Context, tenant string) (ServiceList, error) {
	return get[ServiceList](ctx, c, path("tenants", tenant, "services"), nil)
}

// Roles reads a tenant's roles.
func (c *Client) Roles(ctx context.Context, tenant string) (RoleList, error) {
	return get[RoleList](ctx, c, path("tenants", tenant, "roles"), nil)
}

// Role reads one role of a tenant.
func (c *Client) Role(ctx context.Context, tenant, role string) (RoleReply, error) {
	return get[RoleReply](ctx, c, path("tenants", tenant, "roles", role), nil)
}

// Members reads one page of a tenant's members, as Tenants does.
func (c *Client) Members(ctx context.Context, tenant, after string, limit int) (MemberList, error) {
	return get[MemberList](ctx, c, path("tenants", tenant, "members"), page(after, limit))
}

// Member reads one account of a tenant: what it may do, and why.
func (c *Client) Member(ctx context.Context, tenant, jid string) (MemberReply, error) {
	return get[MemberReply](ctx, c, path("tenants", tenant, "members", jid), nil)
}

// Log reads the newest commits, all of them or one tenant's (empty: all), at
// most limit (0: the server's choice).
func (c *Client) Log(ctx context.Context, tenant string, limit int) (LogTail, error) {
	at := path("log")
	if tenant != "" {
		at = path("tenants", tenant, "log")
	}
	return get[LogTail](ctx, c, at, page("", limit))
}

// LogAfter reads the first commits after a position, oldest first.
func (c *Client) LogAfter(ctx context.Context, tenant string, after uint64, limit int) (LogTail, error) {
	at := path("log")
	if tenant != "" {
		at = path("tenants", tenant, "log")
	}
	q := page("", limit)
	q.Set("after", strconv.FormatUint(after, 10))
	return get[LogTail](ctx, c, at, q)
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
	var e errorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node answered %d %s", status, http.StatusText(status))}
	}
	return e.Error
}
