package node

import (
	"testing"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
)

// TestSecurityNumbers: a node hands gateways the number of a backend's
// security as it stands in the log.
func TestSecurityNumbers(t *testing.T) {
	same := map[events.Security]decision.Security{
		events.SecurityNone: decision.Plain, events.SecurityStartTLS: decision.StartTLS, events.SecurityTLS: decision.TLS,
	}
	for n := range 256 {
		s := events.Security(n)
		if s.Valid() != decision.Security(n).Valid() {
			t.Errorf("%s is known to one of log and gateways only", s)
		}
		if want, named := same[s]; s.Valid() && (!named || decision.Security(s) != want) {
			t.Errorf("%s is not the gateways' %d", s, want)
		}
	}
}
