package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants/policyfile"
)

// explainView returns a View with a tenant and a user who may not receive messages.
func explainView(t *testing.T) *projections.View {
	t.Helper()
	f, err := policyfile.Parse("policy.toml", []byte(`
tenant = "acme"
[[domain]]
name = "alpha.test"
services = ["rooms.alpha.test"]
[[role]]
name = "deaf"
inherits = ["prosody:guest"]
deny = ["xmpp:account:messages:read"]
[[member]]
jid = "bob@alpha.test"
role = "deaf"
`))
	if err != nil {
		t.Fatal(err)
	}
	v, err := policyfile.View(f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestExplainStanza: the explanation of a stanza has the verdict that a gateway
// would get.
func TestExplainStanza(t *testing.T) {
	v := explainView(t)
	for _, c := range []struct {
		name string
		q    api.ExplainRequest
		want string // effect, error, asked, missing
	}{
		{"out, passes", api.ExplainRequest{Stanza: `<message to="carol@alpha.test"><body/></message>`}, "pass  [xmpp:account:messages:write] []"},
		{"spaces around it", api.ExplainRequest{Stanza: " \n<message to='carol@alpha.test'><body/></message>\n"}, "pass  [xmpp:account:messages:write] []"},
		{"out, refused", api.ExplainRequest{Stanza: `<message to="x@other.test"><body/></message>`}, "refuse auth/forbidden [xmpp:federate xmpp:account:messages:write] [xmpp:federate]"},
		{"out, clamped", api.ExplainRequest{Stanza: `<presence/>`}, "clamp  [xmpp:account:messages:read xmpp:account:presence:write] [xmpp:account:messages:read]"},
		{"out, from the session itself", api.ExplainRequest{Resource: "phone", Stanza: `<presence from="bob@alpha.test/phone" type="unavailable"/>`}, "pass  [xmpp:account:presence:write] []"},
		{"out, forged", api.ExplainRequest{Resource: "phone", Stanza: `<presence from="bob@alpha.test/other"/>`}, "end /invalid-from [] []"},
		{"in, answered", api.ExplainRequest{Direction: "in", Resource: "phone", Stanza: `<message type="chat" from="carol@alpha.test/x" to="bob@alpha.test/phone"><body/></message>`}, "refuse cancel/service-unavailable [xmpp:account:messages:read] [xmpp:account:messages:read]"},
		{"in, a joined room's presence", api.ExplainRequest{Direction: "in", Stanza: `<presence from="r@rooms.alpha.test/n"><x xmlns="http://jabber.org/protocol/muc#user"/></presence>`, Joined: []string{"R@rooms.alpha.test/me"}}, "pass  [] []"},
		{"in, an answer without a request", api.ExplainRequest{Direction: "in", Stanza: `<iq type="result" id="1" from="carol@alpha.test/x"/>`}, "drop  [] []"},
		{"in, an answer to a request", api.ExplainRequest{Direction: "in", Stanza: `<iq type="result" id="1" from="carol@alpha.test/x"/>`, Outstanding: []api.Request{{Peer: "Carol@alpha.test/x", ID: "1"}}}, "pass  [] []"},
		{"in, an answer to another request", api.ExplainRequest{Direction: "in", Stanza: `<iq type="result" id="2" from="carol@alpha.test/x"/>`, Outstanding: []api.Request{{Peer: "carol@alpha.test/x", ID: "1"}}}, "drop  [] []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.q.Account = "bob@alpha.test"
			e, err := explainStanza(t.Context(), v, "acme", c.q)
			if err != nil {
				t.Fatal(err)
			}
			answer := ""
			if e.Error != nil {
				answer = e.Error.Type + "/" + e.Error.Condition
			}
			if got := fmt.Sprintf("%s %s %v %v", e.Effect, answer, e.Asked, e.Missing); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if e.Row == "" {
				t.Error("no row")
			}
		})
	}
}

// TestExplainRefuses: an invalid request is refused as invalid, and the text names
// the fault.
func TestExplainRefuses(t *testing.T) {
	v := explainView(t)
	for _, c := range []struct {
		name string
		q    api.ExplainRequest
		want string
	}{
		{"no stanza", api.ExplainRequest{Stanza: "hello"}, "not one well-formed element"},
		{"two stanzas", api.ExplainRequest{Stanza: "<presence/><presence/>"}, "not one well-formed element"},
		{"half a stanza", api.ExplainRequest{Stanza: "<presence>"}, "not one well-formed element"},
		{"no resource", api.ExplainRequest{Stanza: "<presence/>", Resource: "a\x00b"}, "the session's address"},
		{"no room", api.ExplainRequest{Stanza: "<presence/>", Joined: []string{"@"}}, `joined "@"`},
		{"no peer", api.ExplainRequest{Stanza: "<presence/>", Outstanding: []api.Request{{Peer: "@", ID: "1"}}}, `outstanding request with "@"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.q.Account = "bob@alpha.test"
			_, err := explainStanza(t.Context(), v, "acme", c.q)
			e, ok := errors.AsType[*api.Error](err)
			if !ok || e.Code != api.CodeInvalid || !strings.Contains(e.Text, c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}
