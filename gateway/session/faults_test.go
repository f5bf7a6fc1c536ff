package session

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// TestFaultsAreCounted checks that exactly the stanzas with a fault are counted,
// by direction and fault.
func TestFaultsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, func(_ context.Context, qs []decision.Question, vs []decision.Verdict) error {
			for i := range qs {
				vs[i] = decision.Verdict{Effect: decision.Drop, LogID: testLog}
			}
			return nil
		})
		send(r.backend, "<message from='@'><body/></message><iq type='get' id='1' from='@'><a/></iq>"+
			"<presence from='bob@a.test' type='odd'/><message from='bob@a.test'><x:body/></message><presence from='bob@a.test'/>")
		send(r.client, "<iq type='get' id='1'/><message to='@'/><presence/>")
		synctest.Wait()
		want := [2]map[stanza.Fault]uint64{
			decision.In:  {stanza.BadFrom: 2, stanza.BadPresenceType: 1, stanza.Undescribable: 1},
			decision.Out: {stanza.BadIQ: 1, stanza.BadTo: 1},
		}
		for d := range want {
			for f := range stanza.NumFaults {
				if got := r.shared.Faults[d][f].Load(); got != want[d][f] {
					t.Errorf("direction %d: %d stanzas with the fault %s, want %d", d, got, f, want[d][f])
				}
			}
		}
		_ = r.ended()
	})
}
