package node

import (
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
)

// TestSecurityNumbers: events and decision use the same numbers for the security of
// a backend, because a node passes the number in the log on to gateways.
func TestSecurityNumbers(t *testing.T) {
	same := map[events.Security]decision.Security{
		events.SecurityNone: decision.Plain, events.SecurityStartTLS: decision.StartTLS, events.SecurityTLS: decision.TLS,
	}
	for n := range 256 {
		s := events.Security(n)
		if s.Valid() != decision.Security(n).Valid() {
			t.Errorf("%s is known to only one of events and decision", s)
		}
		if want, named := same[s]; s.Valid() && (!named || decision.Security(s) != want) {
			t.Errorf("%s is not %d in decision", s, want)
		}
	}
}
