package permission

import "testing"

// TestNearest checks the suggestion for names with a slip, and that there is
// none for a name unlike all others.
func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"xmpp:fedreate":                "xmpp:federate",
		"xmpp:federat":                 "xmpp:federate",
		"xmpp:federate":                "xmpp:federate",
		"xmpp:account:messages:reed":   "xmpp:account:messages:read",
		"xmpp:acount:contacts:write":   "xmpp:account:contacts:write",
		"xmpp:account:messages":        "xmpp:account:messages:read",
		"xmpp:something:else:entirely": "",
		"acme:x":                       "",
		"":                             "",
	} {
		got := ""
		if p, ok := Nearest(name); ok {
			got = p.Name()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	for p := range All() {
		if got, ok := Nearest(p.Name()); !ok || got != p {
			t.Errorf("%s is nearest to %s", p.Name(), got.Name())
		}
	}
}
