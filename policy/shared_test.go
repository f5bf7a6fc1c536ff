package policy

import (
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
)

// TestSharedService checks that a service of the installation is local to every
// tenant: in both directions, as an embedded addressee, only under its exact
// name, and until it is removed. Stanzas to it do not need xmpp:federate, even
// if the ceiling takes that permission from every role.
func TestSharedService(t *testing.T) {
	const inside = "in@alpha.test"
	var log logOf
	log.commit(t, "acme", events.TenantCreated{}, events.CeilingSet{Permissions: []string{permission.Federate.Name()}},
		events.DomainAdded{Domain: "alpha.test", DefaultRole: permission.DefaultRole})
	without := log.view
	log.commit(t, "", events.SharedServiceAdded{Service: "push.vendor.test"})
	with := log.view
	log.commit(t, "", events.SharedServiceRemoved{Service: "push.vendor.test"})
	after := log.view

	enable := func(jid string) string {
		return `<iq type='set' id='1'><enable xmlns='urn:xmpp:push:0' jid='` + jid + `'/></iq>`
	}
	for _, c := range []struct {
		name   string
		dir    decision.Direction
		xml    string
		shared bool // passes while the service is shared
	}{
		{"push enabled at it", decision.Out, enable("push.vendor.test"), true},
		{"push enabled at an account of it", decision.Out, enable("x@push.vendor.test/r"), true},
		{"push enabled at its parent", decision.Out, enable("vendor.test"), false},
		{"push enabled below it", decision.Out, enable("a.push.vendor.test"), false},
		{"a message to it", decision.Out, `<message to='push.vendor.test'><body>x</body></message>`, true},
		{"a message to its parent", decision.Out, `<message to='vendor.test'><body>x</body></message>`, false},
		{"a message from it", decision.In, `<message from='push.vendor.test' to='` + inside + `'><body>x</body></message>`, true},
		{"a message from elsewhere", decision.In, `<message from='pushevendor.test' to='` + inside + `'><body>x</body></message>`, false},
		{"an upload slot", decision.Out, `<iq type='get' id='1' to='push.vendor.test'><request xmlns='urn:xmpp:http:upload:0' filename='f' size='1'/></iq>`, true},
	} {
		passes := func(e Explanation) bool { return e.Verdict.Effect == decision.Pass }
		if passes(ask(t, without, inside, c.dir, remembers{}, c.xml)) || passes(ask(t, after, inside, c.dir, remembers{}, c.xml)) {
			t.Errorf("%s: passes while it is not shared", c.name)
		}
		e := ask(t, with, inside, c.dir, remembers{}, c.xml)
		if passes(e) != c.shared {
			t.Errorf("%s: while it is shared: %+v", c.name, e)
		}
		if c.shared && e.Asked.Has(permission.Federate) {
			t.Errorf("%s: asks for %s", c.name, e.Asked)
		}
	}
}
