//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/backend"
	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// TestGatewayRegistry adds a gateway to a running installation with policyctl, and
// removes it again. The gateway serves with the seed that was printed. From its
// removal on, no stanza passes it in either direction, and it cannot connect to
// policyd again. The first gateway and its sessions do not notice.
func TestGatewayRegistry(t *testing.T) {
	ctx := waiting(t)
	server := shared.servers[backend.Prosody]
	in, err := install(server, server.Addr(), installation.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	})
	edge, address, err := in.AddGateway(ctx, "edge3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := edge.Stop(); err != nil {
			t.Error(err)
		}
	})
	tg := target{name: "a new gateway", server: server, startTLS: in.StartTLS, directTLS: in.DirectTLS, caFile: server.CAFile()}
	connect := func(prefix, at string) *client.Client {
		config := tg.clientConfig(t, newAccount(t, server, prefix, "alpha.test"), client.DirectTLS)
		config.Address = at
		return login(ctx, t, config)
	}
	near, far := connect("near", in.DirectTLS), connect("far", address)
	chat := func(from, to *client.Client, id, body string) {
		t.Helper()
		send(ctx, t, from, "<message type='chat' id='"+id+"' to='"+to.JID+"'><body>"+body+"</body></message>")
	}
	chat(far, near, "m1", "from the new gateway")
	chat(near, far, "m2", "to the new gateway")
	for body, at := range map[string]*client.Client{"from the new gateway": near, "to the new gateway": far} {
		if _, err := at.Expect(ctx, client.HasBody(body)); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	gateways := func(want string) {
		t.Helper()
		if out, err := in.Policyctl(ctx, "", "gateway", "list", "--all"); err != nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("want %s in\n%s%v", want, out, err)
		}
	}
	gateways(`(?m)^edge3 .* connected  +U`)

	if out, err := in.Policyctl(ctx, "", "gateway", "remove", "edge3", "--yes", "--reason", "stolen"); err != nil {
		t.Fatal(out, err)
	}
	mark := unique("mark")
	chat(near, far, "m3", mark)
	chat(far, near, "m4", mark)
	e, err := far.Expect(ctx, func(e client.Element) bool { return e.Attr("id") == "m4" || e.Body() == mark })
	if err != nil {
		t.Fatal(err)
	}
	if e.Condition() != "internal-server-error" || e.Attr("id") != "m4" {
		t.Errorf("at the removed gateway: %s", e.Raw)
	}
	seen, err := near.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, element := range seen {
		if strings.Contains(element.Raw, mark) && element.Attr("type") != "error" {
			t.Errorf("a stanza passed the removed gateway: %s", element.Raw)
		}
	}
	answer, err := near.Query(ctx, "get", "", rosterQuery)
	if err != nil || answer.Attr("type") != "result" {
		t.Errorf("at the first gateway: %s, %v", answer, err)
	}
	gateways(`(?m)^edge3 .* removed at \d+ +U`)
	if out, err := in.Policyctl(ctx, "", "session", "list"); err != nil || strings.Contains(out, "edge3") {
		t.Errorf("sessions: %s, %v", out, err)
	}

	for name, want := range map[string]string{"policyd": "a gateway is turned away: it was removed", "edge3": "connection to NATS lost"} {
		if log, err := in.Log(name); err != nil || !strings.Contains(log, want) {
			t.Errorf("the log of %s does not say %q, %v", name, want, err)
		}
	}
	if log, err := in.Log("gateway"); err != nil || strings.Contains(log, "connection to NATS lost") {
		t.Errorf("the first gateway lost its connection: %v", err)
	}
}
