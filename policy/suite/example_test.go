package suite_test

import (
	"fmt"
	"regexp"
	"time"

	"github.com/postern-im/postern/policy/suite"
	"github.com/postern-im/postern/tenants/policyfile"
)

// The role may not write messages. The second case wrongly expects a pass;
// therefore the case fails.
func ExampleSuite_Decide() {
	policy, err := policyfile.Parse("acme.toml", []byte(`
tenant = "acme"
[[domain]]
name = "acme.example"
[[role]]
name = "acme:kiosk"
inherits = ["prosody:registered"]
deny = ["xmpp:account:messages:write"]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	view, err := policyfile.View(policy)
	if err != nil {
		fmt.Println(err)
		return
	}
	cases, err := policyfile.ParseCases("acme.test.toml", []byte(`
policy = ["acme.toml"]
[[case]]
name = "a kiosk reads contacts"
role = "acme:kiosk"
stanza = "iq get jabber:iq:roster"
expect = "pass"
[[case]]
name = "a kiosk writes"
role = "acme:kiosk"
stanza = "message to bob@acme.example"
expect = "pass"
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	s := suite.New(suite.Config{Cases: cases, View: view, Now: time.Now})
	outcomes, untested, err := s.Decide(regexp.MustCompile("kiosk"))
	for _, o := range outcomes {
		fmt.Println(o.Name+":", o.Passed, o.Effect, o.Missing)
	}
	fmt.Println(untested, err)
	// Output:
	// a kiosk reads contacts: true pass []
	// a kiosk writes: false refuse [xmpp:account:messages:write]
	// [] <nil>
}
