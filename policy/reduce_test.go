package policy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// reduceQuestions is the number of random questions of TestReduce; a soak asks
// soakQuestions.
const (
	reduceQuestions = 100_000
	soakQuestions   = 800_000
	// stateQuestions is the number of questions that one random state is asked.
	stateQuestions = 200
)

// TestReduce asks random questions under random policies. A question is changed in
// everything that no rule may read: ids, names, nodes of one class, resources and
// other users of one domain. The reduced question must stay the same, and so must
// the answer. The facts must survive their encoding, which the audit log keeps, and
// what they ask for must not depend on the account.
func TestReduce(t *testing.T) {
	n := reduceQuestions
	if os.Getenv("POSTERN_SOAK") == "1" {
		n = soakQuestions
	}
	seen := map[string]int{}
	var m *reduceDriver
	for i := range n {
		if i%stateQuestions == 0 {
			m = newReduceDriver(t, uint64(i))
		}
		q, other := m.question()
		v, now := m.rules.view, time.Unix(0, 0)
		tenant := v.Tenant(q.Session.Tenant)
		f, g := Reduce(v, tenant, &q), Reduce(v, tenant, &other)
		if f != g {
			t.Fatalf("question %d: a change that no rule may read changes the facts\n%+v\n%+v\n%x\n%x", i, q.Desc, other.Desc, decision.AppendFacts(nil, &f), decision.AppendFacts(nil, &g))
		}
		var back decision.Facts
		if rest, err := decision.DecodeFacts(decision.AppendFacts(nil, &f), &back); err != nil || len(rest) > 0 || back != f {
			t.Fatalf("question %d: facts after decoding: %v\n%+v\n%+v", i, err, f, back)
		}
		e := Explain(v, &q, now)
		var settings events.Settings
		if tenant != nil {
			settings = tenant.Settings()
		}
		s := StandingOf(tenant, &q.Session)
		replayed := JudgeFacts(s, settings, &back)
		replayed.Verdict.Position = e.Verdict.Position
		if replayed != e {
			t.Fatalf("question %d: replayed\n%+v\n%+v\n%+v", i, q, e, replayed)
		}
		if s.Known && !s.Ended && Asks(&f) != e.Asked {
			t.Fatalf("question %d: asks for %v, but %v of an account with everything", i, e.Asked, Asks(&f))
		}
		seen[fmt.Sprint(e.Verdict.Effect)]++
		seen[e.Row]++
	}
	// Every effect and every row must occur, or it was not compared.
	for effect := decision.Pass; effect <= decision.End; effect++ {
		if seen[effect.String()] == 0 {
			t.Errorf("effect %v never occurred", effect)
		}
	}
	out, in := Table()
	for _, line := range append(out, in...) {
		row := strings.TrimPrefix(line.Stanza, "iq get, set: ") // a row for requests is named without it
		if seen[line.Stanza]+seen[row] == 0 && !neverNamed[line.Stanza] {
			t.Errorf("row %q never applied", line.Stanza)
		}
	}
}

// neverNamed are the lines of the table that only add permissions to another row.
// The explanation then names the other row.
var neverNamed = map[string]bool{
	rowSender.what: true, rowSenderSet.what: true, rowManaged.what: true, rowInside.what: true, rowInRemote.what: true, rowMore.what: true,
}

// A reduceDriver makes random questions to random states.
type reduceDriver struct {
	rng   *rand.Rand
	rules *ruleDriver
}

func newReduceDriver(t *testing.T, seed uint64) *reduceDriver {
	d := newRuleDriver(t, seed)
	d.commit("acme", events.ServiceAdded{Service: "muc.alpha.test"})
	d.commit("", events.SharedServiceAdded{Service: "push.test"})
	d.rng = rand.New(rand.NewPCG(seed, 23))
	if seed%(2*stateQuestions) == 0 {
		d.commit("acme", events.SettingsChanged{PresenceWithoutMessages: events.PresenceClamp})
	}
	for range 12 {
		d.give(d.command())
	}
	return &reduceDriver{rng: d.rng, rules: d}
}

func (m *reduceDriver) flip(n int) bool { return m.rng.IntN(n) == 0 }

// Texts that are alike for the rules, if they stand in one list.
var (
	alikeNodes = [][]string{
		{"x", "", "urn:xmpp:unknown:0", "eu.siacs.conversations.axolotl.bundles.x"},
		{"a#b", "http://client.test#v1"},
		{"storage:bookmarks", "urn:xmpp:bookmarks:1"},
		{"urn:xmpp:vcard4", "http://jabber.org/protocol/nick"},
		{"urn:xmpp:omemo:2:devices", "eu.siacs.conversations.axolotl.bundles.77"},
		{"http://jabber.org/protocol/offline", "http://jabber.org/protocol/offline"},
	}
	alikeNames = [][]string{
		{"x", "", "queries", "item", "items", "publish", "view"},
		{"query", "query"}, {"metadata", "metadata"}, {"prefs", "prefs"}, {"disable", "disable"},
		{"subscribe", "subscribe"}, {"unsubscribe", "unsubscribe"}, {"options", "options"},
		{"publish-options", "publish-options"}, {"configure", "configure"}, {"create", "create"},
	}
	alikeAddresses = [][]string{
		{"", ""}, {"alpha.test", "alpha.test"}, {"ann@alpha.test", "ann@alpha.test"}, {"ann@alpha.test/a", "ann@alpha.test/bb"},
		{"alpha.test/x", "alpha.test/y"}, {"u@alpha.test", "v@alpha.test"}, {"u@alpha.test/a", "v@alpha.test/b"},
		{"beta.test", "beta.test"}, {"u@beta.test", "v@beta.test"}, {"muc.alpha.test", "push.test"},
		{"room@muc.alpha.test", "hall@muc.alpha.test"}, {"room@muc.alpha.test/nick", "u@push.test/x"},
		{"gamma.test", "gamma.test"}, {"eve@gamma.test", "eva@gamma.test"}, {"eve@gamma.test/r", "eva@gamma.test/s"},
		{"far.test", "farther.test"}, {"u@far.test", "w@farther.test"}, {"u@far.test/a", "w@farther.test/b"},
	}
	alikeOther = []string{"urn:one", "urn:two"}
)

// question returns a random question, and another that no rule may tell from it.
func (m *reduceDriver) question() (q, other decision.Question) {
	d := &q.Desc
	d.Kind = stanza.Kind(1 + m.rng.IntN(4))
	if m.flip(60) {
		d.Kind = stanza.UnknownKind
	}
	for d.Type = stanza.Type(m.rng.IntN(64)); !d.Type.Known(); d.Type = stanza.Type(m.rng.IntN(64)) {
	}
	if d.Kind == stanza.IQ && m.flip(2) {
		d.Type = stanza.Get + stanza.Type(m.rng.IntN(2))
	}
	if m.flip(12) {
		d.Fault = stanza.Fault(m.rng.IntN(int(stanza.NumFaults)))
	}
	for bit := stanza.HasContent; bit <= stanza.ManyInside; bit <<= 1 {
		if m.flip(5) {
			d.Marks |= bit
		}
	}
	q.Direction = decision.Direction(m.rng.IntN(2))
	q.Joined, q.MUC, q.Queried, q.Outstanding = m.flip(2), m.flip(2), m.flip(2), m.flip(2)
	q.Session = decision.Session{
		ID: []byte("s"), Tenant: []byte("acme"), Account: []byte("ann@alpha.test"), Resource: []byte("r"),
		Opened: uint64(m.rules.view.Position()) - m.rng.Uint64N(4),
	}
	switch m.rng.IntN(40) {
	case 0:
		q.Session.Tenant = []byte("nobody")
	case 1:
		q.Session.Account = []byte("ann@lost.test")
	case 2:
		q.Session.Grant = []byte("g")
	}
	other = q
	other.ID, other.Session.ID, other.Session.Resource = 7, []byte("t"), []byte("q")
	other.Desc.ID, other.Desc.HasID, other.Desc.ToEdited = []byte("id"), true, true
	o := &other.Desc
	d.To, o.To = m.address()
	d.From, o.From = m.address()
	if q.Direction == decision.Out {
		o.From, _ = m.address()
	} else if d.To.HasResource() == o.To.HasResource() {
		for o.To, _ = m.address(); o.To.HasResource() != d.To.HasResource(); o.To, _ = m.address() {
		}
	}
	payloads := 1
	if d.Kind != stanza.IQ || m.flip(20) {
		payloads = m.rng.IntN(4)
	}
	for range payloads {
		m.part(&d.Payloads, &o.Payloads)
	}
	if m.flip(2) {
		for range m.rng.IntN(5) {
			m.part(&d.Parts, &o.Parts)
		}
		if n := len(o.Parts); n > 0 { // the order, and how often a part occurs, do not count
			o.Parts = append(o.Parts, o.Parts[m.rng.IntN(n)])
			m.rng.Shuffle(len(o.Parts), func(i, j int) { o.Parts[i], o.Parts[j] = o.Parts[j], o.Parts[i] })
		}
	}
	for range m.rng.IntN(6) {
		list, others := &d.Addressed, &o.Addressed
		if m.flip(2) {
			list, others = &d.Inside, &o.Inside
		}
		a, b := m.address()
		*list, *others = append(*list, a), append(*others, b)
		if m.flip(2) {
			return q, other
		}
	}
	return q, other
}

func (m *reduceDriver) address() (a, b jid.Addr) {
	pair := alikeAddresses[m.rng.IntN(len(alikeAddresses))]
	return addr(pair[0]), addr(pair[1])
}

func addr(s string) jid.Addr {
	if s == "" {
		return jid.Addr{}
	}
	a, err := jid.Parse([]byte(s))
	if err != nil {
		panic(err)
	}
	return a
}

// part appends a random part to list, and one that is like it to the rules to
// others.
func (m *reduceDriver) part(list, others *[]stanza.Part) {
	p := stanza.Part{Inner: m.flip(4)}
	spaces := []stanza.Space{stanza.PubSub, stanza.PubSubOwner, stanza.Private, stanza.DiscoInfo, stanza.MAM, stanza.Push, stanza.StorageBookmarks, stanza.VCardTemp,
		stanza.MAMOther, stanza.Privacy, stanza.Roster, stanza.Offline, stanza.Ping}
	p.Space = spaces[m.rng.IntN(len(spaces))]
	if m.flip(2) {
		for p.Space = stanza.Space(m.rng.IntN(64)); !p.Space.Known(); p.Space = stanza.Space(m.rng.IntN(64)) {
		}
	}
	names := alikeNames[m.rng.IntN(len(alikeNames))]
	p.Local = []byte(names[m.rng.IntN(len(names))])
	o := p
	o.Local = []byte(names[m.rng.IntN(len(names))])
	if p.Space.HasText() {
		p.Other, o.Other = []byte(alikeOther[0]), []byte(alikeOther[m.rng.IntN(2)])
	}
	if m.flip(2) {
		nodes := alikeNodes[m.rng.IntN(len(alikeNodes))]
		p.HasNode, o.HasNode = true, true
		p.Node, o.Node = []byte(nodes[m.rng.IntN(len(nodes))]), []byte(nodes[m.rng.IntN(len(nodes))])
	}
	*list, *others = append(*list, p), append(*others, o)
}
