package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

type domainCmd struct {
	Add            domainAdd            `cmd:"" help:"Give a tenant a domain."`
	List           domainList           `cmd:"" help:"List a tenant's domains."`
	Show           domainShow           `cmd:"" help:"Show the owner of a domain, and its settings."`
	SetBackends    domainSetBackends    `cmd:"" help:"Set the servers of a domain."`
	SetDefaultRole domainSetDefaultRole `cmd:"" help:"Set the role of accounts that have no primary role of their own."`
	Suspend        domainSuspend        `cmd:"" help:"End all sessions of the domain and admit no new ones."`
	Resume         domainResume         `cmd:"" help:"Undo suspend."`
	Remove         domainRemove         `cmd:"" help:"Remove a domain with its members."`
}

// boundaryNotes are warnings about traffic that a gateway cannot see. A command
// that puts a domain behind gateways prints them.
var boundaryNotes = []string{
	"the server's own client ports (c2s, BOSH, WebSocket) must be reachable by gateways only: a client that reaches them directly is not checked",
	"components of the server (rooms, upload, …) that are not declared with \"policyctl service add\" count as remote and ask for xmpp:federate",
}

// bindingNotes warns about backends behind TLS. The gateway ends the client's TLS
// and cannot offer channel binding. A client that supports channel binding says
// in SCRAM's first message that it was not offered. The server did offer it to
// the gateway, so it must treat this as a downgrade attack and refuse the log-in
// (RFC 5802 section 6).
func bindingNotes(domain string, backends []api.Backend) []string {
	var secured []string
	for _, b := range backends {
		if b.Security != "none" {
			secured = append(secured, b.Address+" ("+b.Security+")")
		}
	}
	if len(secured) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s is reached over TLS at %s: there Prosody refuses SCRAM log-ins of clients that support channel binding. "+
		"A backend without TLS on loopback or a private network (security none) avoids that", domain, strings.Join(secured, ", "))}
}

// parseBackends parses backends of the form SECURITY://HOST:PORT or
// SECURITY+proxy://HOST:PORT.
func parseBackends(list []string) ([]api.Backend, error) {
	backends := []api.Backend{}
	for _, s := range list {
		security, address, ok := strings.Cut(s, "://")
		security, proxy := strings.CutSuffix(security, "+proxy")
		if _, known := events.Parse[events.Security](security); !ok || address == "" || !known {
			return nil, usagef("backend %q: write %s, or add +proxy as in none+proxy://HOST:PORT", s, backendForms())
		}
		backends = append(backends, api.Backend{Address: address, Security: security, Proxy: proxy})
	}
	return backends, nil
}

// backendForms returns the forms of a backend in words, one for each security.
func backendForms() string {
	var forms []string
	for _, security := range events.Names[events.Security]() {
		forms = append(forms, security+"://HOST:PORT")
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + " or " + forms[last]
}

type domainAdd struct {
	Domain      string   `arg:"" help:"The domain."`
	Backend     []string `short:"b" sep:"none" help:"A server of the domain, as ${backend}. Several are tried in order." placeholder:"SECURITY://HOST:PORT"`
	DefaultRole string   `help:"The role of accounts that have no primary role of their own; prosody:registered if omitted." placeholder:"ROLE"`
	tenantFlag
	change
}

// Help is the command's help.
func (*domainAdd) Help() string {
	return `A gateway connects to a backend without TLS (none, for loopback and private networks), with STARTTLS (starttls) or with direct TLS (tls). With +proxy it sends a PROXY protocol header with the client's address. The backend's port must then be set up to expect the header (ejabberd's use_proxy_protocol, Prosody's mod_net_proxy); otherwise connections fail.

Examples:

    policyctl domain add alpha.example -t acme -b none://127.0.0.1:15222
    policyctl domain add beta.example -t acme -b starttls://xmpp1.example:5222 -b starttls://xmpp2.example:5222 --default-role prosody:guest`
}

// Run gives a tenant a domain.
func (c *domainAdd) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	backends, err := parseBackends(c.Backend)
	if err != nil {
		return err
	}
	notes := append(bindingNotes(c.Domain, backends), boundaryNotes...)
	if len(backends) == 0 {
		notes = append(notes, "no client can log in to "+c.Domain+" yet: give it a server with \"policyctl domain set-backends\"")
	}
	return c.do(ctx, a, tenant, api.DomainAdd{Domain: c.Domain, DefaultRole: c.DefaultRole, Backends: backends},
		fmt.Sprintf("domain %s added to tenant %s", c.Domain, tenant), notes...)
}

type domainList struct {
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*domainList) Help() string {
	return `Example:

    policyctl domain list -t acme`
}

// Run lists a tenant's domains.
func (c *domainList) Run(ctx context.Context, a *app) error {
	tenant, err := c.need()
	if err != nil {
		return err
	}
	list, err := c.then(a).Domains(ctx, tenant)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Domains) == 0 {
			fmt.Fprintf(w, "Tenant %s has no domains yet. Add one with: policyctl domain add DOMAIN -t %s\n", tenant, tenant)
			return
		}
		writeDomains(w, list.Domains)
		writeAsOf(w, list.AsOf)
	})
}

func writeDomains(w io.Writer, domains []api.Domain) {
	t := &table{}
	t.add("DOMAIN", "DEFAULT ROLE", "MEMBERS", "SUSPENDED", "BACKENDS")
	for _, d := range domains {
		t.add(d.Domain, d.DefaultRole, number(d.Members), suspendedWords(d.Suspended, d.SuspendedByOperator), backendWords(d.Backends))
	}
	t.write(w)
}

// backendWords returns the backends in the form in which commands accept them.
func backendWords(backends []api.Backend) string {
	var words []string
	for _, b := range backends {
		scheme := b.Security
		if b.Proxy {
			scheme += "+proxy"
		}
		words = append(words, scheme+"://"+b.Address)
	}
	return orNone(words)
}

type domainSetBackends struct {
	Domain   string   `arg:"" help:"The domain."`
	Backends []string `arg:"" optional:"" sep:"none" name:"backend" help:"Its servers, as ${backend}, tried in order. They replace all that were set."`
	None     bool     `help:"No servers: nobody can log in."`
	ownedChange
}

// Help is the command's help.
func (*domainSetBackends) Help() string {
	return `Examples:

    policyctl domain set-backends alpha.example none://10.0.0.5:5222 none://10.0.0.6:5222
    policyctl domain set-backends alpha.example none+proxy://10.0.0.5:15222
    policyctl domain set-backends alpha.example --none`
}

// Run sets a domain's backends.
func (c *domainSetBackends) Run(ctx context.Context, a *app) error {
	if c.None == (len(c.Backends) > 0) {
		return usagef("give the servers of %s, or --none", c.Domain)
	}
	backends, err := parseBackends(c.Backends)
	if err != nil {
		return err
	}
	return c.doFor(ctx, a, c.Domain, api.DomainSetBackends{Domain: c.Domain, Backends: backends},
		fmt.Sprintf("domain %s: %s set", c.Domain, plural(len(backends), "backend")), bindingNotes(c.Domain, backends)...)
}

type domainSetDefaultRole struct {
	Domain string `arg:"" help:"The domain."`
	Role   string `arg:"" help:"The role."`
	ownedChange
}

// Help is the command's help.
func (*domainSetDefaultRole) Help() string {
	return `It ends the sessions of all accounts of the domain that have no primary role of their own.

Example:

    policyctl domain set-default-role alpha.example prosody:guest`
}

// Run sets a domain's default role.
func (c *domainSetDefaultRole) Run(ctx context.Context, a *app) error {
	return c.doFor(ctx, a, c.Domain, api.DomainSetDefaultRole{Domain: c.Domain, Role: c.Role},
		fmt.Sprintf("domain %s: the default role is %s; sessions of accounts with the default role end", c.Domain, c.Role))
}

type domainSuspend struct {
	Domain string `arg:"" help:"The domain."`
	ownedChange
}

// Help is the command's help.
func (*domainSuspend) Help() string {
	return `Nothing is lost: resume lets everybody in again. If an operator suspends a domain, only an operator can resume or remove it.

Example:

    policyctl domain suspend alpha.example`
}

// Run suspends a domain.
func (c *domainSuspend) Run(ctx context.Context, a *app) error {
	return c.doFor(ctx, a, c.Domain, api.DomainSuspend{Domain: c.Domain}, fmt.Sprintf("domain %s suspended: its sessions end", c.Domain))
}

type domainResume struct {
	Domain string `arg:"" help:"The domain."`
	ownedChange
}

// Help is the command's help.
func (*domainResume) Help() string {
	return `Example:

    policyctl domain resume alpha.example`
}

// Run resumes a domain.
func (c *domainResume) Run(ctx context.Context, a *app) error {
	return c.doFor(ctx, a, c.Domain, api.DomainResume{Domain: c.Domain}, fmt.Sprintf("domain %s resumed", c.Domain))
}

type domainRemove struct {
	Domain string `arg:"" help:"The domain."`
	consent
	ownedChange
}

// Help is the command's help.
func (*domainRemove) Help() string {
	return `On a terminal you confirm by typing the domain's name. Without a terminal it needs --yes.

Example:

    policyctl domain remove alpha.example --yes`
}

// Run removes a domain.
func (c *domainRemove) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this ends all sessions of %s and removes the roles of its members", c.Domain), c.Domain); err != nil {
		return err
	}
	return c.doFor(ctx, a, c.Domain, api.DomainRemove{Domain: c.Domain}, fmt.Sprintf("domain %s removed", c.Domain))
}
