package policy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
	"github.com/postern-im/postern/xmpp/stream"
)

const benchTenants, benchMembers = 1000, 1000

// BenchmarkDecide judges a chat message of a random member, out of a million
// members in a thousand tenants. The lower bound is a bare map of maps from the
// same names to permission masks. The ratio of the two is the result.
func BenchmarkDecide(b *testing.B) {
	var log logOf
	floor := map[string]map[string]permission.Set{}
	for i := range benchTenants {
		tenant, domain := fmt.Sprintf("tenant-%d", i), fmt.Sprintf("chat%d.example", i)
		evs := []events.Event{
			events.TenantCreated{Name: tenant},
			events.DomainAdded{Domain: domain, DefaultRole: permission.DefaultRole},
			events.RoleDefined{Name: "lab:half", Allow: []string{permission.MessagesWrite.Name()}},
		}
		masks := map[string]permission.Set{}
		for j := range benchMembers {
			jid, role := fmt.Sprintf("user%d@%s", j, domain), "lab:half"
			if j%2 == 0 {
				role = permission.Guest
			}
			evs = append(evs, events.MemberRolesSet{JID: jid, Role: role})
			masks[jid] = permission.Everything
		}
		log.commit(b, tenant, evs...)
		floor[tenant] = masks
	}
	asked := randomSessions(b)
	q := chatQuestion(b, uint64(log.view.Position()))

	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		i, allowed := 0, 0
		for b.Loop() {
			a := &asked[i%len(asked)]
			if floor[string(a.tenant)][string(a.account)].Has(permission.MessagesWrite) {
				allowed++
			}
			i++
		}
		if allowed != i {
			b.Fatal("the floor refuses")
		}
	})
	b.Run("Decide", func(b *testing.B) {
		b.ReportAllocs()
		now := time.Now()
		i := 0
		for b.Loop() {
			a := &asked[i%len(asked)]
			q.Session.Tenant, q.Session.Account, q.Desc.To = a.tenant, a.account, a.to
			if v := Decide(log.view, "", &q, now); v.Effect != decision.Pass {
				b.Fatal(v.Text())
			}
			i++
		}
	})
}

// A randomSession is the session and the receiver of one question. The texts of
// all sessions are in one array in the order of use, and so in the processor's
// cache, like the texts of a question just received. Therefore the benchmark
// measures the look-up and no cache misses on these texts.
type randomSession struct {
	tenant, account []byte
	to              jid.Addr
}

func randomSessions(b *testing.B) []randomSession {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	asked := make([]randomSession, 1<<18)
	texts := make([]byte, 0, len(asked)*128)
	keep := func(format string, args ...any) []byte {
		n := len(texts)
		texts = fmt.Appendf(texts, format, args...)
		return texts[n:len(texts):len(texts)]
	}
	for n := range asked {
		i := rng.IntN(benchTenants)
		asked[n].tenant = keep("tenant-%d", i)
		asked[n].account = keep("user%d@chat%d.example", rng.IntN(benchMembers), i)
		to, err := jid.Parse(keep("user%d@chat%d.example", rng.IntN(benchMembers), i))
		if err != nil {
			b.Fatal(err)
		}
		asked[n].to = to
	}
	return asked
}

func chatQuestion(b *testing.B, opened uint64) decision.Question {
	b.Helper()
	var d stanza.Descriptor
	el, err := stream.NewFramer(stream.Config{}).ParseStanza([]byte("<message to='x@other.example' type='chat'><body>hi</body></message>"))
	if err != nil {
		b.Fatal(err)
	}
	d.Describe(el)
	return decision.NewQuestion(decision.Session{Resource: []byte("r"), Opened: opened}, decision.Out, &d, nil)
}
