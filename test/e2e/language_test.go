//go:build e2e

package e2e

import (
	"cmp"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// TestLanguage: stanzas have the language of their client's stream, and the
// recipient sees that language, in both directions (RFC 6120 sections 4.7.4 and
// 8.1.5).
func TestLanguage(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx := waiting(t)
			server := shared.servers[kind]
			behind, _ := through(kind)
			bind := func(tg target, prefix, language string) *client.Client {
				config := tg.clientConfig(t, newAccount(t, server, prefix, "alpha.test"), client.StartTLS)
				config.Language = language
				c := login(ctx, t, config)
				send(ctx, t, c, "<presence/>")
				return c
			}
			alice, bob := bind(behind, "alice", "de"), bind(direct(server), "bob", "fr-CH")
			for _, way := range []struct {
				from, to *client.Client
				want     string
			}{{alice, bob, "de"}, {bob, alice, "fr-CH"}} {
				id := unique("language")
				send(ctx, t, way.from, "<message type='chat' id='"+id+"' to='"+way.to.JID+"'><body>one</body><body xml:lang='it'>due</body></message>")
				m, err := way.to.Expect(ctx, func(e client.Element) bool { return e.Stanza("message") && e.Attr("id") == id })
				if err != nil {
					t.Fatal(err)
				}
				if got := languageOf(m, way.to); got != way.want {
					t.Errorf("a message from a stream in %s arrives as %q: %s", way.want, got, m.Raw)
				}
			}
		})
	}
}

// languageOf returns the language of an element that c has received: its own,
// or the language of the server's stream.
func languageOf(e client.Element, c *client.Client) (own string) {
	const nsXML = "http://www.w3.org/XML/1998/namespace"
	stream := ""
	for _, a := range e.Attrs {
		if a.Name.Local == "lang" && (a.Name.Space == nsXML || a.Name.Space == "xml") {
			own = a.Value
		}
	}
	for _, a := range c.Header.Attr {
		if a.Name.Local == "lang" && (a.Name.Space == nsXML || a.Name.Space == "xml") {
			stream = a.Value
		}
	}
	return cmp.Or(own, stream)
}
