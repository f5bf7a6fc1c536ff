package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/api"
)

type gatewayCmd struct {
	Add    gatewayAdd    `cmd:"" help:"Register a gateway, and print its key. It is not shown again."`
	List   gatewayList   `cmd:"" help:"List the gateways, and whether they are connected."`
	Remove gatewayRemove `cmd:"" help:"Remove a gateway: it is cut off at once, for good."`
}

type gatewayAdd struct {
	ID        string `arg:"" help:"The gateway's id: 1 to 32 of a-z and 0-9."`
	Out       string `help:"Write the seed to a new file that only you can read, instead of printing it." placeholder:"FILE"`
	PublicKey string `help:"Register this key, which was made elsewhere. It is the public part of an nkey of a user, and begins with U." placeholder:"KEY"`
	change
}

// Help is the command's help.
func (*gatewayAdd) Help() string {
	return `policyctl makes the key on this machine. The node gets only its public part. The seed, which is secret, is the only line on standard output: put it into the seed_file of the gateway, with mode 0600. The gateway can connect at once; policyd need not be restarted.

A gateway that was removed can be added again, with a new key.

Examples:

    policyctl gateway add edge2 --out edge2.nkey
    policyctl gateway add edge2 | ssh edge2 'umask 077; cat >/etc/postern/gateway.nkey'
    policyctl gateway add edge2 --public-key UCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVZ45L`
}

// A gatewayMade is a new gateway, in JSON.
type gatewayMade struct {
	ID        string `json:"id"`
	PublicKey string `json:"public_key"`
	Seed      string `json:"seed,omitempty"` // absent if it was written to a file, or made elsewhere
	changed
}

// Run registers a gateway.
func (c *gatewayAdd) Run(ctx context.Context, a *app) error {
	made := gatewayMade{ID: c.ID, PublicKey: c.PublicKey}
	switch {
	case strings.HasPrefix(c.PublicKey, "SU"):
		return usagef("--public-key: this is a seed, which is secret: give the public key, which begins with U, and make another seed")
	case c.PublicKey != "" && c.Out != "":
		return usagef("give either --public-key or --out: the seed of a key that was made elsewhere is not known here")
	case c.PublicKey == "":
		var err error
		if made.Seed, made.PublicKey, err = newSeed(); err != nil {
			return err
		}
	}
	if c.Out != "" {
		// The file comes first: a gateway must not be registered with a lost seed.
		if err := newSecretFile(c.Out, made.Seed); err != nil {
			return err
		}
	}
	meta := c.meta()
	var err error
	made.Result, err = a.client.Do(ctx, "", api.GatewayAdd{ID: made.ID, PublicKey: made.PublicKey}, meta)
	if err != nil {
		return c.failed(meta.ID, made, err)
	}
	if c.Out != "" {
		made.Seed = ""
	}
	if !a.json {
		if err := a.print(nil, func(w io.Writer) { made.write(w, a.err) }); err != nil {
			return err
		}
	}
	enforced, err := c.enforce(ctx, a, made.Position, made.TakesAway)
	made.Enforced = enforced
	return errors.Join(a.print(made, func(io.Writer) { writeEnforced(a.err, enforced) }), err)
}

// write writes that the gateway was added. The seed is the only line on standard
// output.
func (m *gatewayMade) write(out, err io.Writer) {
	if m.Seed == "" {
		fmt.Fprintf(out, "gateway %s added (position %d)\n", m.ID, m.Position)
		return
	}
	fmt.Fprintf(err, "gateway %s added (position %d); its seed is not shown again\n", m.ID, m.Position)
	fmt.Fprintln(out, m.Seed)
}

// failed removes the file of a seed that was not registered. If it is not known
// whether it was, the file stays.
func (c *gatewayAdd) failed(id string, made gatewayMade, err error) error {
	switch unclear := api.Unclear(err); {
	case c.PublicKey != "":
		return c.unclear(id, err) // the same command can be repeated
	case unclear && c.Out != "":
		return unclearChange{err, fmt.Sprintf("policyctl gateway list shows whether gateway %s was added. If it was not, add it with --public-key %s: its seed is in %s.", made.ID, made.PublicKey, c.Out)}
	case unclear:
		return unclearChange{err, fmt.Sprintf("policyctl gateway list shows whether gateway %s was added. If it was, its seed is lost: remove it, then add it again.", made.ID)}
	case c.Out != "":
		return errors.Join(err, os.Remove(c.Out))
	}
	return err
}

// An unclearChange is an error after which it is not known whether a change was made,
// with advice.
type unclearChange struct {
	error
	hint string
}

func (e unclearChange) Unwrap() error { return e.error }

// newSeed makes the nkey of a user.
func newSeed() (seed, public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	secret, err := pair.Seed()
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	public, err = pair.PublicKey()
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	return string(secret), public, nil
}

// newSecretFile writes a line to a new file that only its owner can read. It does not
// replace a file.
func newSecretFile(name, line string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

type gatewayList struct {
	All bool `help:"Also list the removed gateways, with each of their former keys."`
}

// Help is the command's help.
func (*gatewayList) Help() string {
	return `The node reports what it hears itself: a gateway announces itself each second to every node that it is connected to. A gateway without a key is not registered: it connects to a NATS server that policyd does not run.

Examples:

    policyctl gateway list
    policyctl gateway list --all --json`
}

// Run lists the gateways.
func (c *gatewayList) Run(ctx context.Context, a *app) error {
	list, err := a.client.Gateways(ctx, c.All)
	if err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		if len(list.Gateways) == 0 {
			fmt.Fprintln(w, "There are no gateways: policyctl gateway add registers one.")
			return
		}
		t := &table{}
		t.add("GATEWAY", "SINCE", "STATE", "KEY")
		for _, g := range list.Gateways {
			since, key := "-", "-"
			if g.Added != 0 {
				since, key = moment(g.Since), g.PublicKey
			}
			t.add(g.ID, since, gatewayState(g), key)
		}
		t.write(w)
	})
}

// gatewayState describes what the node knows about a gateway.
func gatewayState(g api.Gateway) string {
	switch {
	case g.Removed != 0:
		return fmt.Sprintf("removed at %d", g.Removed)
	case g.Connected && g.Twice:
		return "connected twice: two gateways use this id"
	case g.Connected:
		return "connected"
	case g.Heard.IsZero():
		return "not heard since the node was started"
	}
	return "last heard " + moment(g.Heard)
}

type gatewayRemove struct {
	ID string `arg:"" help:"The gateway's id." complete:"gateway"`
	consent
	change
}

// Help is the command's help.
func (*gatewayRemove) Help() string {
	return `The gateway's connections to the policy nodes are closed at once, and its key is never accepted again. It passes no stanza any more, and its clients must log in at another gateway. To let a gateway go without an interruption, stop it first.

Example:

    policyctl gateway remove edge2 --yes --reason "machine was stolen"`
}

// Run removes a gateway.
func (c *gatewayRemove) Run(ctx context.Context, a *app) error {
	if err := c.given(ctx, a, fmt.Sprintf("this cuts gateway %s off, and its key is never accepted again", c.ID), c.ID); err != nil {
		return err
	}
	return c.do(ctx, a, "", api.GatewayRemove{ID: c.ID}, fmt.Sprintf("gateway %s removed", c.ID))
}
