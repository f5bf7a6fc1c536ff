package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tour shows, step by step, what Postern does. If a step does not go as its
// title says, the tour ends with an error.
func (d *demo) tour(ctx context.Context) error {
	steps := []struct {
		title string
		do    func(context.Context, *cast) error
	}{
		{"The policy files are tested before they are applied", d.testPolicies},
		{"Two tenants are created from policy files", d.makeTenants},
		{"A normal user's stanzas pass", d.normalUser},
		{"A restricted user's stanzas are refused, and the refusal names the permission", d.restrictedUser},
		{"A permission is taken from a role; the connected user's next stanza is refused", d.takePermission},
		{"A member gets another role: its session ends, and the next one has the new role", d.changeRole},
		{"Another tenant counts as remote, even on the same server", d.crossTenant},
		{"policyctl explain shows how a decision was made", d.explain},
	}
	var c cast
	defer c.leave()
	for i, step := range steps {
		fmt.Printf("\n%d. %s\n", i+1, step.title)
		if err := step.do(ctx, &c); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	fmt.Println()
	return nil
}

// cast holds the clients that are logged in.
type cast struct{ alice, kiosk, bob *client }

func (c *cast) leave() {
	for _, who := range []*client{c.alice, c.kiosk, c.bob} {
		if who != nil {
			_ = who.close() // the tour is over; the gateway notices either way
		}
	}
}

// happened prints an observation of a step.
func happened(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// command prints a policyctl command and runs it.
func (d *demo) command(ctx context.Context, stdin string, args ...string) (string, error) {
	happened("$ policyctl %s", strings.Join(args, " "))
	return d.in.Policyctl(ctx, stdin, args...)
}

// testPolicies runs the test cases of the demo's policy files, offline.
func (d *demo) testPolicies(ctx context.Context, _ *cast) error {
	dir := filepath.Join(d.dir, "policies")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{"acme.toml": acmePolicy, "globex.toml": globexPolicy, "demo.test.toml": policyTests} {
		text = strings.ReplaceAll(text, "@BACKEND@", d.server.Addr())
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	out, err := d.command(ctx, "", "test", dir, "-v")
	for line := range strings.Lines(out) {
		happened("%s", strings.TrimRight(line, "\n"))
	}
	return err
}

func (d *demo) makeTenants(ctx context.Context, _ *cast) error {
	for _, policy := range []string{acmePolicy, globexPolicy} {
		policy = strings.ReplaceAll(policy, "@BACKEND@", d.server.Addr())
		out, err := d.command(ctx, policy, "tenant", "create", "-f", "-")
		if err != nil {
			return err
		}
		happened("%s", strings.SplitN(strings.TrimSpace(out), "\n", 2)[0])
	}
	return nil
}

func (d *demo) login(ctx context.Context, account, password string) (*client, error) {
	c, err := login(ctx, d.in.StartTLS, d.trust, account, password)
	if err == nil {
		happened("%s logs in as %s", account, c.jid)
	}
	return c, err
}

func (d *demo) normalUser(ctx context.Context, c *cast) (err error) {
	if c.alice, err = d.login(ctx, alice, alicePassword); err != nil {
		return err
	}
	if c.kiosk, err = d.login(ctx, kiosk, kioskPassword); err != nil {
		return err
	}
	if err := c.alice.roster(ctx); err != nil {
		return err
	}
	happened("alice reads her contact list: passed")
	if err := c.alice.send(ctx, kiosk, "Welcome to ACME"); err != nil {
		return err
	}
	m, err := c.kiosk.next(ctx)
	if err != nil {
		return err
	}
	if m.Body != "Welcome to ACME" {
		return fmt.Errorf("the kiosk got %q", m.Body)
	}
	happened("alice writes to the kiosk: it shows %q", m.Body)
	return nil
}

// refused waits for the refusal of a message and prints it.
func (c *client) refused(ctx context.Context, permission string) error {
	m, err := c.next(ctx)
	if err != nil {
		return err
	}
	if m.Error == nil || m.Error.Denied.Permission != permission {
		return fmt.Errorf("want a refusal for %s, got %+v", permission, m)
	}
	happened("refused, %s: %q", m.Error.Denied.Permission, m.Error.Text)
	return nil
}

func (d *demo) restrictedUser(ctx context.Context, c *cast) error {
	happened("the kiosk writes to alice")
	if err := c.kiosk.send(ctx, alice, "I am only a screen"); err != nil {
		return err
	}
	return c.kiosk.refused(ctx, "xmpp:account:messages:write")
}

func (d *demo) takePermission(ctx context.Context, c *cast) error {
	if _, err := d.command(ctx, "", "role", "define", "--tenant", "acme", "acme:staff",
		"--inherits", "prosody:registered", "--deny", "xmpp:account:contacts:read"); err != nil {
		return err
	}
	err := c.alice.roster(ctx)
	var r *refusal
	if !errors.As(err, &r) || r.Denied.Permission != "xmpp:account:contacts:read" {
		return fmt.Errorf("want a refusal for contacts:read, got %v", err)
	}
	happened("alice, still connected, reads her contact list: refused, %q", r.Text)
	if _, err := d.command(ctx, "", "role", "define", "--tenant", "acme", "acme:staff",
		"--inherits", "prosody:registered"); err != nil {
		return err
	}
	if err := c.alice.roster(ctx); err != nil {
		return err
	}
	happened("the permission is given back: alice reads her contact list again")
	return nil
}

func (d *demo) changeRole(ctx context.Context, c *cast) (err error) {
	if _, err := d.command(ctx, "", "member", "set-role", "--tenant", "acme", kiosk, "acme:staff"); err != nil {
		return err
	}
	condition, err := c.kiosk.waitEnd(ctx)
	if err != nil {
		return err
	}
	if condition != "reset" {
		return fmt.Errorf("the kiosk's stream ended with %q, want reset", condition)
	}
	happened("the kiosk's stream ends: %s", condition)
	if c.kiosk, err = d.login(ctx, kiosk, kioskPassword); err != nil {
		return err
	}
	if err := c.kiosk.send(ctx, alice, "Now I may speak"); err != nil {
		return err
	}
	m, err := c.alice.next(ctx)
	if err != nil {
		return err
	}
	happened("the kiosk writes to alice: she reads %q", m.Body)
	return nil
}

func (d *demo) crossTenant(ctx context.Context, c *cast) (err error) {
	if c.bob, err = d.login(ctx, bob, bobPassword); err != nil {
		return err
	}
	happened("alice writes to bob; both domains are on one Prosody, and ACME's ceiling has no xmpp:federate")
	if err := c.alice.send(ctx, bob, "Hello over there"); err != nil {
		return err
	}
	return c.alice.refused(ctx, "xmpp:federate")
}

func (d *demo) explain(ctx context.Context, _ *cast) error {
	out, err := d.command(ctx, "", "explain", "--account", alice, "--direction", "out",
		"--stanza", "<message to='"+bob+"' type='chat'><body>Hello</body></message>")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		happened("%s", strings.TrimRight(line, "\n"))
	}
	return nil
}
