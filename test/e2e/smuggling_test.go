//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// A trick is XML on which two parsers may disagree, as measured at both
// servers. BOB stands for another user's address, MYSELF for the sender's own,
// and MARK for a text that the test looks for at BOB.
type trick struct {
	name string
	xml  string
	// want is the outcome for a sender that may send messages: "delivered",
	// "silence", or the condition of the stream error or stanza error.
	want string
}

var tricks = []trick{
	{"comment", "<message to='BOB'><body>MA<!-- -->RK MARK</body></message>", "restricted-xml"},
	{"comment between stanzas", "<!-- --><message to='BOB'><body>MARK</body></message>", "restricted-xml"},
	{"processing instruction", "<message to='BOB'><body><?pi?>MARK</body></message>", "restricted-xml"},
	{"processing instruction between stanzas", "<?pi x?><message to='BOB'><body>MARK</body></message>", "restricted-xml"},
	{"document type", "<!DOCTYPE x [<!ENTITY e 'MARK'>]><message to='BOB'><body>&e;</body></message>", "restricted-xml"},
	{"second XML declaration", "<?xml version='1.0'?><message to='BOB'><body>MARK</body></message>", "restricted-xml"},
	{"CDATA in body", "<message to='BOB'><body><![CDATA[MARK]]></body></message>", "delivered"},
	{"CDATA holding markup", "<message to='BOB'><![CDATA[<evil/>]]><body>MARK</body></message>", "delivered"},
	{"undefined entity", "<message to='BOB'><body>&nbsp;MARK</body></message>", "restricted-xml"},
	{"entity without semicolon", "<message to='BOB'><body>&ltMARK</body></message>", "restricted-xml"},
	{"]]> in text", "<message to='BOB'><body>]]>MARK</body></message>", "not-well-formed"},
	{"control character", "<message to='BOB'><body>\x01MARK</body></message>", "not-well-formed"},
	{"NUL", "<message to='BOB'><body>\x00MARK</body></message>", "not-well-formed"},
	{"U+FFFE", "<message to='BOB'><body>\uFFFEMARK</body></message>", "not-well-formed"},
	{"reference to NUL", "<message to='BOB'><body>&#0;MARK</body></message>", "not-well-formed"},
	{"reference to a control character", "<message to='BOB'><body>&#1;MARK</body></message>", "not-well-formed"},
	{"reference to U+FFFE", "<message to='BOB'><body>&#xFFFE;MARK</body></message>", "not-well-formed"},
	{"reference to a surrogate", "<message to='BOB'><body>&#xD800;MARK</body></message>", "not-well-formed"},
	{"predefined entities and references", "<message to='BOB'><body>&lt;&amp;&#65;&#x42;MARK</body></message>", "delivered"},
	{"byte ff", "<message to='BOB'><body>\xffMARK</body></message>", "not-well-formed"},
	{"overlong <, two bytes", "<message to='BOB'><body>\xc0\xbcMARK</body></message>", "not-well-formed"},
	{"overlong <, three bytes", "<message to='BOB'><body>\xe0\x80\xbcMARK</body></message>", "not-well-formed"},
	{"surrogate", "<message to='BOB'><body>\xed\xa0\x80MARK</body></message>", "not-well-formed"},
	{"truncated sequence before <", "<message to='BOB'><body>MARK\xe2\x82</body></message>", "not-well-formed"},
	{"truncated sequence before a quote", "<message to='BOB' id='\xe2\x82'><body>MARK</body></message>", "not-well-formed"},
	{"five-byte sequence", "<message to='BOB'><body>\xf8\x88\x80\x80\x80MARK</body></message>", "not-well-formed"},
	{"above U+10FFFF", "<message to='BOB'><body>\xf4\x90\x80\x80MARK</body></message>", "not-well-formed"},
	{"U+FEFF between stanzas", "\uFEFF<message to='BOB'><body>MARK</body></message>", "not-well-formed"},
	{"text between stanzas", "text<message to='BOB'><body>MARK</body></message>", "not-well-formed"},
	{"duplicate attribute", "<message to='BOB' to='x@alpha.test'><body>MARK</body></message>", "not-well-formed"},
	{"duplicate attribute by namespace", "<message to='BOB'><a xmlns:p='u:a' xmlns:q='u:a' p:x='1' q:x='2' xmlns='u:b'/><body>MARK</body></message>", "not-well-formed"},
	{"unbound element prefix", "<message to='BOB'><evil:e/><body>MARK</body></message>", "bad-namespace-prefix"},
	{"unbound attribute prefix", "<message to='BOB'><body evil:a='1'>MARK</body></message>", "bad-namespace-prefix"},
	{"two colons", "<message to='BOB'><a:b:c xmlns:a='u:a'/><body>MARK</body></message>", "not-well-formed"},
	{"rebinding xml", "<message to='BOB' xmlns:xml='u:x'><body>MARK</body></message>", "bad-namespace-prefix"},
	{"binding xmlns", "<message to='BOB' xmlns:xmlns='u:x'><body>MARK</body></message>", "bad-namespace-prefix"},
	{"undeclaring a prefix", "<message to='BOB' xmlns:a=''><body>MARK</body></message>", "bad-namespace-prefix"},
	{"< in an attribute", "<message to='BOB' id='<'><body>MARK</body></message>", "not-well-formed"},
	{"no space between attributes", "<message to='BOB'id='1'><body>MARK</body></message>", "not-well-formed"},
	{"mismatched end tag", "<message to='BOB'><body>MARK</bodY></message>", "not-well-formed"},
	{"attributes in an end tag", "<message to='BOB'><body>MARK</body></message to='x'>", "not-well-formed"},
	{"prefixed stanza", "<c:message xmlns:c='jabber:client' to='BOB'><c:body>MARK</c:body></c:message>", "delivered"},
	{"qualified to", "<message xmlns:c='jabber:client' c:to='x@alpha.test' to='BOB'><body>MARK</body></message>", "bad-namespace-prefix"},
	{"no namespace", "<message xmlns='' to='BOB'><body>MARK</body></message>", "unsupported-stanza-type"},
	{"foreign namespace", "<message xmlns='u:x' to='BOB'><body>MARK</body></message>", "unsupported-stanza-type"},
	{"jabber:server", "<message xmlns='jabber:server' to='BOB'><body>MARK</body></message>", "unsupported-stanza-type"},
	{"child without a namespace", "<message to='BOB'><a xmlns=''/><body>MARK</body></message>", "delivered"},
	{"body of another namespace", "<message to='BOB'><body xmlns='u:x'>MARK</body></message>", "silence or delivered"},
	{"two bodies", "<message to='BOB'><body>MARK</body><body>MARK</body></message>", "delivered"},
	{"unknown top element", "<evil xmlns='u:x'><message to='BOB'><body>MARK</body></message></evil>", "unsupported-stanza-type"},
	{"message in a message", "<message to='BOB'><message to='BOB'><body>MARK</body></message><body>MARK</body></message>", "delivered"},
	{"iq in a message", "<message to='BOB'><iq type='set' id='1' to='BOB'/><body>MARK</body></message>", "delivered"},
	{"nested stream", "<message to='BOB'><stream:stream xmlns:stream='http://etherx.jabber.org/streams'/><body>MARK</body></message>", "invalid-namespace"},
	{"nested stream error, prefix of the header", "<message to='BOB'><stream:error/><body>MARK</body></message>", "bad-namespace-prefix"},
	{"second stream header", "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='alpha.test' version='1.0'><message to='BOB'><body>MARK</body></message>", "any"},
	{"stream error, then a stanza", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error><message to='BOB'><body>MARK</body></message>", "closed"},
	{"stanza after the end", "</stream:stream><message to='BOB'><body>MARK</body></message>", "closed"},
	{"namespace with a newline", "<message to='BOB'><a xmlns='u:x&#10;y'/><body>MARK</body></message>", "invalid-namespace"},
	{"namespace with markup", "<message to='BOB'><a xmlns='u:&apos;/&gt;&lt;x'/><body>MARK</body></message>", "invalid-namespace"},
	{"iq with two children", "<iq id='1' type='set' to='BOB'><a xmlns='u:MARK'/><b xmlns='u:b'/></iq>", "bad-request"},
	{"iq without an id", "<iq type='set' to='BOB'><a xmlns='u:MARK'/></iq>", "bad-request"},
	{"iq of type GET", "<iq type='GET' id='1' to='BOB'><a xmlns='u:MARK'/></iq>", "bad-request"},
	{"forged from", "<message from='carol@alpha.test/x' to='BOB'><body>MARK</body></message>", "invalid-from"},
	{"forged from, another resource", "<message from='MYSELF/other' to='BOB'><body>MARK</body></message>", "invalid-from"},
	{"own bare from", "<message from='MYSELF' to='BOB'><body>MARK</body></message>", "delivered"},
	{"upper case to", "<message to='UPPERBOB'><body>MARK</body></message>", "delivered"},
	{"trailing dot", "<message to='DOTBOB'><body>MARK</body></message>", "delivered"},
	{"ideographic dot", "<message to='bob@alpha\u3002test'><body>MARK</body></message>", "jid-malformed"},
	{"upper case MESSAGE", "<MESSAGE to='BOB'><body>MARK</body></MESSAGE>", "unsupported-stanza-type"},
	{"depth 65", "<message to='BOB'>" + strings.Repeat("<a xmlns='u:a'>", 64) + strings.Repeat("</a>", 64) + "<body>MARK</body></message>", "policy-violation"},
	{"300 KiB", "<message to='BOB'><body>MARK" + strings.Repeat("x", 300<<10) + "</body></message>", "policy-violation"},
	{"reference between stanzas", "&#32;<message to='BOB'><body>MARK</body></message>", "not-well-formed"},
	{"tab in an attribute that names a node", "<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks\t1'><item><a xmlns='u:MARK'/></item></publish></pubsub></iq>", "any"},
}

// TestSmuggling sends every trick through the gateway to both servers. A first
// sender may send neither messages nor requests: none of its tricks may reach
// the other user, whatever the servers do with them. A second sender may send
// them.
func TestSmuggling(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			tg, in := through(kind)
			ctx := waiting(t)
			bob := newAccount(t, tg.server, "bob", "alpha.test")
			watcher := login(ctx, t, direct(tg.server).clientConfig(t, bob, client.StartTLS))
			send(ctx, t, watcher, "<presence/>")
			mute := newAccount(t, tg.server, "mute", "alpha.test")
			setRole(ctx, t, in, mute, "--inherits", "prosody:registered",
				"--deny", "xmpp:account:messages:write", "--deny", "xmpp:requests:write", "--deny", "xmpp:requests:read")
			free := newAccount(t, tg.server, "free", "alpha.test")
			s := &smuggler{tg: tg, watcher: watcher}
			for _, trick := range tricks {
				t.Run(trick.name, func(t *testing.T) {
					if got := s.try(ctx, t, mute, trick); strings.Contains(got, "delivered") {
						t.Errorf("it reached the other user from a sender that may not write")
					}
					got := s.try(ctx, t, free, trick)
					if trick.want != "any" && !strings.Contains(trick.want, got) {
						t.Errorf("the outcome is %q, want %q", got, trick.want)
					}
				})
			}
		})
	}
}

// setRole defines a role and gives it to an account.
func setRole(ctx context.Context, t *testing.T, in *installation.Installation, a account, role ...string) string {
	t.Helper()
	name := unique("lab:role")
	for _, args := range [][]string{
		append([]string{"role", "define", "--tenant", "lab", name}, role...),
		{"member", "set-role", "--tenant", "lab", a.jid, name},
	} {
		if _, err := in.Policyctl(ctx, "", args...); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func send(ctx context.Context, t *testing.T, c *client.Client, xml string) {
	t.Helper()
	if err := c.Send(ctx, xml); err != nil {
		t.Fatal(err)
	}
}

// A smuggler tries tricks at one gateway, each in a session of its own.
type smuggler struct {
	tg      target
	watcher *client.Client // the other user, connected directly to the server
}

// try sends a trick and returns its outcome.
func (s *smuggler) try(ctx context.Context, t *testing.T, a account, trick trick) string {
	t.Helper()
	config := s.tg.clientConfig(t, a, client.DirectTLS)
	config.Mechanism = "PLAIN"
	c := login(ctx, t, config)
	mark := unique("mark")
	local, domain, _ := strings.Cut(s.watcher.Bare(), "@")
	xml := strings.NewReplacer("UPPERBOB", strings.ToUpper(local)+"@"+strings.ToUpper(domain), "DOTBOB", s.watcher.Bare()+".",
		"BOB", s.watcher.JID, "MARK", mark, "MYSELF", a.jid).Replace(trick.xml)
	got := s.outcome(ctx, t, c, xml)
	seen, err := s.watcher.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range seen {
		if strings.Contains(string(e.Raw), mark) {
			return "delivered"
		}
	}
	return got
}

// outcome sends xml and waits until the server has handled all of it, or the
// stream has ended. It closes the session.
func (s *smuggler) outcome(ctx context.Context, t *testing.T, c *client.Client, xml string) string {
	t.Helper()
	defer c.Close()
	if err := c.Send(ctx, xml); err != nil {
		return "closed" // the gateway may close before it has read all of a refused trick
	}
	before, err := c.Fence(ctx)
	if c.Ended != nil {
		return c.Ended.Condition()
	}
	if err != nil {
		return "closed"
	}
	for _, e := range before {
		if e.Attr("type") == "error" {
			return e.Condition()
		}
	}
	return "silence"
}
