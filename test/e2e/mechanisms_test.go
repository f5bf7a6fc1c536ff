//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/test/e2e/client"
)

// TestMechanisms: the gateway shows the same list of mechanisms as the server's
// port behind it. A client that checks the list (XEP-0474) therefore finds no
// difference.
func TestMechanisms(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			server := shared.servers[kind]
			behind, _ := through(kind)
			alone := direct(server)
			alone.startTLS = server.Addr()
			nobody := account{jid: "nobody@alpha.test"}
			want := mechanismList(t, alone.clientConfig(t, nobody, client.Plain))
			got := mechanismList(t, behind.clientConfig(t, nobody, client.StartTLS))
			if !slices.Contains(want, "SCRAM-SHA-1") || !slices.Equal(got, want) {
				t.Errorf("the gateway shows %v, the server's port %v", got, want)
			}
			t.Logf("%s", strings.Join(got, " "))
		})
	}
}

// mechanismList returns the offered mechanisms, sorted.
func mechanismList(t *testing.T, config client.Config) (names []string) {
	t.Helper()
	c, err := client.Dial(waiting(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, m := range c.Features.Child(client.NSSASL, "mechanisms").Children {
		if m.Is(client.NSSASL, "mechanism") {
			names = append(names, m.Text)
		}
	}
	slices.Sort(names)
	return names
}
