package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
)

// connect returns a client for the node that the flags name, and the socket or
// URL of the node.
func (c *cli) connect() (client *api.Client, where string, err error) {
	if c.Server == "" {
		return api.NewClient(c.Socket).AtLeast(c.AtLeast), c.Socket, nil
	}
	token, err := readToken(c.TokenFile, os.Getenv("POSTERN_TOKEN"))
	if err != nil {
		return nil, "", err
	}
	var roots *x509.CertPool
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, "", err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, "", fmt.Errorf("%s: no certificate in it", c.CA)
		}
	}
	client, err = api.NewRemoteClient(c.Server, token, roots)
	if err != nil {
		return nil, "", err
	}
	return client.AtLeast(c.AtLeast), c.Server, nil
}

// readToken reads the token from a file. Only the file's owner may be able to
// read it. Without a file the token comes from the environment.
func readToken(file, environ string) (string, error) {
	if file == "" {
		if environ == "" {
			return "", errors.New("--server needs a token: give --token-file, or set POSTERN_TOKEN_FILE or POSTERN_TOKEN")
		}
		return environ, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o, so other users can read the token: run chmod 600 %s", file, perm, file)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	return strings.TrimSpace(string(text)), err
}

type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Create a token and print it. It is not shown again."`
	List   tokenList   `cmd:"" help:"List the tokens."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a token at once, for good."`
	Self   tokenSelf   `cmd:"" help:"Show who you are to the node, and what you may do."`
}

type tokenCreate struct {
	Name    string `arg:"" help:"The token's purpose, in your own words."`
	Scope   string `help:"read or write (one tenant), or operator (everything)." enum:"read,write,operator" required:"" placeholder:"SCOPE"`
	Expires string `help:"How long the token is valid, such as 90d or 12h; for ever if omitted." placeholder:"TIME"`
	tenantFlag
	change
}

// Help is the command's help.
func (*tokenCreate) Help() string {
	return `The token is the only line on standard output. It is not stored anywhere: the
node gets only its hash.

Examples:

    policyctl token create "ACME's CI" --scope write --tenant acme --expires 90d
    (umask 077; policyctl token create backup --scope operator > token)
    policyctl --server https://node:9524 --token-file token status`
}

// A tokenMade is a new token, in JSON.
type tokenMade struct {
	ID    string `json:"id"`
	Token string `json:"token"`
	changed
}

// Run creates a token.
func (c *tokenCreate) Run(ctx context.Context, a *app) error {
	token, id, hash := api.NewToken()
	cmd := api.TokenCreate{ID: id, Label: c.Name, Scope: c.Scope, Hash: hash}
	var err error
	if c.Scope != "operator" {
		if cmd.Tenant, err = c.need(); err != nil {
			return err
		}
	}
	if c.Expires != "" {
		d, err := parseLifetime(c.Expires)
		if err != nil {
			return err
		}
		cmd.Expires = uint64(time.Now().Add(d).Unix())
	}
	meta := c.meta()
	result, err := a.client.Do(ctx, "", cmd, meta)
	if err != nil {
		return c.unclear(meta.ID, err)
	}
	list, err := a.client.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, made := range list.Tokens {
		if made.ID == id {
			return c.made(ctx, a, tokenMade{id, token, changed{Result: result}})
		}
	}
	return fmt.Errorf("command %s was carried out before, and its token was shown then: create another token", meta.ID)
}

// made prints a new token, and waits until it is valid on all nodes if that is wanted.
// The token is the only line on standard output, and comes before the wait.
func (c *tokenCreate) made(ctx context.Context, a *app, made tokenMade) error {
	if !a.json {
		fmt.Fprintf(a.err, "token %s created (position %d); it is not shown again\n", made.ID, made.Position)
		if err := a.print(nil, func(w io.Writer) { fmt.Fprintln(w, made.Token) }); err != nil {
			return err
		}
	}
	enforced, err := c.enforce(ctx, a, made.Position, made.TakesAway)
	made.Enforced = enforced
	return errors.Join(a.print(made, func(io.Writer) { writeEnforced(a.err, enforced) }), err)
}

// parseLifetime parses a duration, which may also be in days.
func parseLifetime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d <= 0 {
		return 0, usagef("--expires %q: give a time such as 90d or 12h", s)
	}
	return d, nil
}

type tokenList struct{}

// Help is the command's help.
func (*tokenList) Help() string {
	return `Example:

    policyctl token list`
}

// Run lists the tokens.
func (*tokenList) Run(ctx context.Context, a *app) error {
	list, err := a.client.Tokens(ctx)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Tokens) == 0 {
			fmt.Fprintln(w, "There are no tokens.")
			return
		}
		t := &table{}
		t.add("TOKEN", "SCOPE", "TENANT", "EXPIRES", "STATE", "FOR")
		for _, k := range list.Tokens {
			expires, state := "never", "in force"
			if k.Expires != 0 {
				expires = time.Unix(int64(min(k.Expires, 1<<37)), 0).UTC().Format(time.DateTime)
				if uint64(time.Now().Unix()) >= k.Expires {
					state = "expired"
				}
			}
			if k.Revoked != 0 {
				state = fmt.Sprintf("revoked at %d", k.Revoked)
			}
			tenant := k.Tenant
			if tenant == "" {
				tenant = "-"
			}
			t.add(k.ID, k.Scope, tenant, expires, state, k.Label)
		}
		t.write(w)
	})
}

type tokenRevoke struct {
	ID string `arg:"" help:"The token's id, from token list."`
	change
}

// Help is the command's help.
func (*tokenRevoke) Help() string {
	return `Example:

    policyctl token revoke 0123456789abcdef --reason "left the company"`
}

// Run revokes a token.
func (c *tokenRevoke) Run(ctx context.Context, a *app) error {
	return c.do(ctx, a, "", api.TokenRevoke{ID: c.ID}, fmt.Sprintf("token %s revoked", c.ID))
}

type tokenSelf struct{}

// Help is the command's help.
func (*tokenSelf) Help() string {
	return `Example:

    policyctl token self --server https://node:9524 --token-file token`
}

// Run shows the caller's name and scope at the node.
func (*tokenSelf) Run(ctx context.Context, a *app) error {
	self, err := a.client.Self(ctx)
	if err != nil {
		return err
	}
	return a.print(self, func(w io.Writer) {
		t := &table{}
		t.add("actor", self.Actor)
		t.add("scope", self.Scope)
		if self.Tenant != "" {
			t.add("tenant", self.Tenant)
		}
		t.write(w)
	})
}
