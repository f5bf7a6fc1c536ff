package logtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/postern-im/postern/events"
)

// An author writes valid commits one after the other, like a writer that knows
// the log's content. The same seed gives the same commits.
type author struct {
	rng      *rand.Rand
	versions map[string]uint64
	commands int
}

func newAuthor(seed uint64) *author {
	return &author{rng: rand.New(rand.NewPCG(seed, 0)), versions: map[string]uint64{}}
}

// tenants are ids that cause errors if keys are made from them carelessly.
var tenants = []string{"", "a", "ab", "a\x00", "a|b", "a\x00\x01", "\x01a", "é", "acme", strings.Repeat("a", events.MaxID)}

// commit returns a tenant's next commit.
func (a *author) commit(tenant string) *events.Commit {
	a.versions[tenant]++
	a.commands++
	c := &events.Commit{
		Tenant:        tenant,
		TenantVersion: a.versions[tenant],
		// Clocks can be set back, and have zones and nanoseconds.
		Time:      time.Unix(1_763_890_200+a.rng.Int64N(3600), a.rng.Int64N(1e9)).In(time.FixedZone("", 3600)),
		Actor:     "operator:root",
		CommandID: fmt.Sprintf("command %d", a.commands),
		Reason:    strings.Repeat("why ", a.rng.IntN(3)),
		Events:    []events.Event{events.RoleDefined{Name: "lab:kiosk", Allow: []string{"xmpp:federate"}}},
	}
	for range a.rng.IntN(3) {
		jid := fmt.Sprintf("member%d@alpha.test", a.rng.IntN(1000))
		c.Events = append(c.Events, events.MemberRolesSet{JID: jid, Role: "lab:kiosk"})
	}
	return c
}

// batch returns one to four commits of any tenants.
func (a *author) batch() []*events.Commit {
	var batch []*events.Commit
	for range 1 + a.rng.IntN(4) {
		batch = append(batch, a.commit(tenants[a.rng.IntN(len(tenants))]))
	}
	return batch
}

// takeBack forgets commits that did not get into the log. They must be the last
// ones that the author wrote.
func (a *author) takeBack(batch []*events.Commit) {
	for _, c := range batch {
		a.versions[c.Tenant]--
	}
}

// appendAll appends copies of a batch.
func appendAll(list []events.Commit, batch []*events.Commit) []events.Commit {
	for _, c := range batch {
		list = append(list, *c)
	}
	return list
}

// asRead returns a batch as a log must return it after the commits in list.
func asRead(list []events.Commit, batch []*events.Commit) ([]events.Commit, error) {
	var last events.Commit
	if len(list) > 0 {
		last = list[len(list)-1]
	}
	var read []events.Commit
	for _, c := range batch {
		next := *c
		next.Position = last.Position + 1
		next.Previous = [32]byte{}
		if last.Position > 0 {
			next.Previous = events.Hash(events.AppendCommit(nil, &last))
		}
		decoded, err := events.DecodeCommit(events.AppendCommit(nil, &next))
		if err != nil {
			return nil, errors.Join(errors.New("the suite wrote a bad commit"), err)
		}
		read = append(read, *decoded)
		last = *decoded
	}
	return read, nil
}

// firstDifference describes the first difference of two lists of commits; "" if
// there is none.
func firstDifference(got, want []events.Commit) string {
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			return fmt.Sprintf("at %d the log holds\n%+v\nwant\n%+v", i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("the log holds %d commits, want %d", len(got), len(want))
	}
	return ""
}
