package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy/trial"
	"github.com/postern-im/postern/xmpp/jid"
)

type explainCmd struct {
	Account     string   `help:"The account (bare JID) of the session." required:"" placeholder:"JID"`
	Permission  string   `short:"p" help:"Does the account have this permission?" placeholder:"PERMISSION"`
	Stanza      string   `help:"What happens to this stanza? Read from standard input if neither this nor --permission is given." placeholder:"XML"`
	Direction   string   `short:"d" enum:"out,in" default:"out" help:"out: the client sends it; in: the server sends it to the client."`
	Resource    string   `help:"The session's resource." default:"policyctl"`
	Joined      []string `help:"A room the session has joined." placeholder:"JID"`
	Outstanding []string `help:"A request that the session has received or sent and that has no answer yet: PEER or PEER#ID." sep:"none" placeholder:"PEER#ID"`
	tenantFlag
	atFlag
}

// Help is the command's help.
func (*explainCmd) Help() string {
	return `The running node decides by its current state. The answer names the row of the table of stanzas that applied, the permissions that the row asks for, and the role that gives or denies each. Nothing is sent or changed. A stanza is XML or in the short form of "policyctl test --help"; in the short form, a stanza with from is incoming. With --at the node decides by an earlier state, but does not consider which sessions had ended then. The exit code is 0 for every verdict.

Examples:

    policyctl explain --account bob@alpha.example --permission xmpp:federate
    policyctl explain --account bob@alpha.example --stanza '<message to="x@other.example"><body>hi</body></message>'
    policyctl explain --account bob@alpha.example --stanza 'iq get jabber:iq:roster'
    policyctl explain --account bob@alpha.example --direction in < stanza.xml
    policyctl explain --account bob@alpha.example --permission xmpp:federate --at 2h`
}

// Run asks the node.
func (c *explainCmd) Run(ctx context.Context, a *app) error {
	bare, err := jid.Bare(c.Account)
	if err != nil {
		return notAnAccount(c.Account, err)
	}
	q := api.ExplainRequest{Account: bare, Permission: c.Permission}
	if c.Permission == "" {
		if q, err = c.stanzaQuestion(a, bare); err != nil {
			return err
		}
	} else if c.Stanza != "" {
		return usagef("give --permission or --stanza, not both")
	}
	_, domain, _ := strings.Cut(bare, "@")
	tenant, err := c.of(ctx, a, domain)
	if err != nil {
		return err
	}
	reply, err := c.then(a).Explain(ctx, tenant, q)
	if err != nil {
		return err
	}
	return a.print(reply, func(w io.Writer) { writeExplanation(w, q, reply) })
}

func (c *explainCmd) stanzaQuestion(a *app, bare string) (api.ExplainRequest, error) {
	q := api.ExplainRequest{Account: bare, Resource: c.Resource, Direction: c.Direction, Stanza: c.Stanza, Joined: c.Joined}
	if q.Stanza == "" {
		text, err := readInput(a, "-")
		if err != nil {
			return q, err
		}
		if q.Stanza = strings.TrimSpace(string(text)); q.Stanza == "" {
			return q, usagef("there is nothing to explain: give --stanza, --permission, or a stanza on standard input")
		}
	}
	if trial.IsShort(q.Stanza) {
		xml, dir, err := trial.Expand(q.Stanza, bare+"/"+c.Resource)
		if err != nil {
			return q, usagef("--stanza: %w", err)
		}
		q.Stanza, q.Direction = xml, "out"
		if dir == decision.In {
			q.Direction = "in"
		}
	}
	for _, s := range c.Outstanding {
		peer, id, _ := strings.Cut(s, "#")
		q.Outstanding = append(q.Outstanding, api.Request{Peer: peer, ID: id})
	}
	return q, nil
}

func writeExplanation(w io.Writer, q api.ExplainRequest, r api.ExplainReply) {
	t := &table{}
	if q.Stanza != "" {
		t.add("effect", r.Effect+effectWords(r.Effect))
		t.colour(1, func(cell string) ink {
			if cell == r.Effect+effectWords(r.Effect) {
				return inkOf(cell)
			}
			return inkNone
		})
		if r.Error != nil {
			t.add("answered", strings.Trim(r.Error.Type+"/"+r.Error.Condition, "/"))
		}
		if r.Text != "" {
			t.add("text", r.Text)
		}
		t.add("row", r.Row)
	}
	t.add("account", fmt.Sprintf("%s of tenant %s", r.Account, r.Tenant))
	t.add("role", roleWords(r.Role, r.RoleIsOwn))
	if len(r.BarredBy) > 0 {
		t.add("suspended", barred(r.BarredBy, r.BarredByOperator))
	}
	if q.Stanza != "" {
		t.add("missing", orNone(r.Missing))
	}
	t.add("at position", asOf(r.Position, r.AsOf))
	t.write(w)
	fmt.Fprintln(w)
	if len(r.Permissions) == 0 {
		fmt.Fprintln(w, "It asks for no permission.")
		return
	}
	writePermissions(w, r.Permissions)
}

// effectWords returns the meaning of an effect.
func effectWords(effect string) string {
	switch effect {
	case "pass":
		return ": it is forwarded unchanged"
	case "clamp":
		return ": it is forwarded with priority -1"
	case "strip":
		return ": it is forwarded with nothing but its error"
	case "refuse":
		return ": it is not forwarded, and its sender gets an error"
	case "drop":
		return ": it is dropped silently"
	case "end":
		return ": the session ends"
	}
	return ""
}
