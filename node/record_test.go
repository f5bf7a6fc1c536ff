package node_test

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recorded is what a node's records of a batch are on disk.
func recorded(t *testing.T, d node.Decided) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := node.NewJournal(&out).Record(d); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRecordsStay: the lines of decisions.jsonl are read by programs of others,
// so no byte of them changes by accident.
func TestRecordsStay(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	requests, results := everyRecord(t)
	var out []byte
	for i, setting := range []events.AuditAddresses{events.AuditFull, events.AuditDomain, events.AuditClass} {
		r.do("acme", "addresses"+string(rune('0'+i)), tenants.SetAuditAddresses{Addresses: setting})
		out = append(out, recorded(t, node.Decided{
			Node: "n1", At: time.Date(2026, 3, 1, 12, 0, i, 120_000_000, time.FixedZone("", 3600)), View: r.View(),
			Batch:   &decision.Batch{BatchHead: decision.BatchHead{Gateway: "gw1"}, Requests: requests},
			Results: results,
		})...)
	}
	const golden = "testdata/records.jsonl"
	if *update {
		if err := os.WriteFile(golden, out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, want) {
		t.Errorf("recorded\n%s\nwant\n%s", out, want)
	}
}

// everyRecord is a batch that has each kind of record, with every field that a
// line may hold and with as few as there can be.
func everyRecord(t *testing.T) ([]decision.Request, []decision.Result) {
	t.Helper()
	addr := func(s string) jid.Addr {
		a, err := jid.Split([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	verdict := func(v decision.Verdict) decision.Result { return decision.Result{Kind: decision.Ask, Verdict: v} }

	passed := chat(t, "acme", "bob@acme.test", "carol@acme.test/x", 2)
	incoming := chat(t, "acme", "bob@acme.test", "bob@acme.test/phone", 2)
	incoming.Question.ID, incoming.Question.Direction = 1<<63, decision.In
	incoming.Question.Desc.From = addr("eve@beta.test/a\"b\\ é")
	incoming.Question.Session.Grant = []byte("grant-1")
	request := chat(t, "acme", "bob@acme.test", "upload.vendor.test", 2)
	request.Question.Desc = stanza.Descriptor{
		Kind: stanza.IQ, Type: stanza.Set, Fault: stanza.Undescribable, To: addr("upload.vendor.test"),
		Payloads: []stanza.Part{
			{Space: stanza.OtherSpace, Other: []byte("urn:x\n\"},{\x7f\xff"), Local: []byte("query")},
			{Space: stanza.Client, Local: []byte("second")},
		},
	}
	nobody := chat(t, "gone", "bob@gone.test", "eve@gone.test", 2)
	bare := decision.Request{Kind: decision.Ask}
	session := decision.Session{
		ID: []byte("s1"), Tenant: []byte("acme"), Account: []byte("bob@acme.test"), Resource: []byte("📱 phone"), Grant: []byte("grant-1"),
	}
	return []decision.Request{
			passed, incoming, request, nobody, bare,
			{Kind: decision.Admit, Domain: []byte("ACME.test")}, {Kind: decision.Admit, Domain: []byte("nowhere.test")},
			{Kind: decision.Open, Session: session}, {Kind: decision.Open},
		}, []decision.Result{
			verdict(decision.Verdict{Effect: decision.Pass, Position: 2}),
			verdict(decision.Verdict{Effect: decision.Drop, Reason: decision.Forgery, Position: 3}),
			verdict(decision.Verdict{Effect: decision.Refuse, Reason: decision.NoFederation, Permission: "xmpp:federate", Position: 1<<64 - 1}),
			verdict(decision.Verdict{Effect: decision.End, Reason: decision.RolesChanged, Position: 4}),
			verdict(decision.Verdict{}),
			{Kind: decision.Admit, Admission: decision.Admission{Known: true, Tenant: "acme", Domain: "acme.test", Position: 5}}, {Kind: decision.Admit},
			{Kind: decision.Open, Opening: decision.Opening{Allowed: true, Position: 6}}, {Kind: decision.Open},
		}
}
