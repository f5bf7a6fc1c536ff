package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	audit "github.com/postern-im/postern/audit/jsonl"
	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// lines returns the lines that the audit log writes for records.
func lines(t *testing.T, records []audit.Record) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.jsonl")
	w, err := audit.Open(audit.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Record(records), w.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecordsStay: programs of other authors read the lines of decisions.jsonl, so
// no byte of them may change by accident.
func TestRecordsStay(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	requests, results := everyRecord(t)
	var out []byte
	for i, setting := range []events.AuditAddresses{events.AuditFull, events.AuditDomain, events.AuditClass} {
		r.do("acme", "addresses"+string(rune('0'+i)), tenants.SetSetting{Setting: "audit_addresses", Value: uint8(setting)})
		at := time.Date(2026, 3, 1, 12, 0, i, 120_000_000, time.FixedZone("", 3600))
		batch := &decision.Batch{BatchHead: decision.BatchHead{Gateway: "gw1"}, Requests: requests}
		out = append(out, lines(t, node.Records(r.View(), at, batch, results))...)
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

// TestRecord: a record has the expected fields, and as much of an address as the
// setting allows.
func TestRecord(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	decided := func(setting events.AuditAddresses, id, to string) map[string]any {
		t.Helper()
		r.do("acme", id, tenants.SetSetting{Setting: "audit_addresses", Value: uint8(setting)})
		q := chat(t, "acme", "bob@acme.test", to, 1)
		batch := &decision.Batch{BatchHead: decision.BatchHead{Gateway: "gw1"}, Requests: []decision.Request{q}}
		out := lines(t, node.Records(r.View(), time.Time{}, batch, []decision.Result{
			{Kind: decision.Ask, Verdict: decision.Verdict{Effect: decision.Refuse, Permission: "xmpp:federate", Position: 3}},
		}))
		var line map[string]any
		if err := json.Unmarshal(out, &line); err != nil || bytes.Count(out, []byte("\n")) != 1 {
			t.Fatalf("%q: %v", out, err)
		}
		return line
	}
	line := decided(events.AuditFull, "1", "eve@beta.test/x")
	for key, want := range map[string]any{
		"msg": "verdict", "node": "n1", "gateway": "gw1", "tenant": "acme", "account": "bob@acme.test", "session": "s1",
		"direction": "out", "effect": "refuse", "permission": "xmpp:federate", "position": 3.0, "to": "eve@beta.test/x",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	// Text chosen by a client cannot add a line or a field.
	nasty := "bob@acme.test/a\"b\\\",\"effect\":\"pass\" é"
	if to := decided(events.AuditFull, "nasty", nasty)["to"]; to != nasty {
		t.Errorf("recorded %q, want %q", to, nasty)
	}
	if to := decided(events.AuditDomain, "2", "eve@beta.test/x")["to"]; to != "beta.test" {
		t.Errorf("domain only: %v", to)
	}
	for to, want := range map[string]string{"eve@beta.test/x": "remote", "eve@acme.test": "local", "bob@acme.test/tablet": "own"} {
		if got := decided(events.AuditClass, "3"+to, to)["to"]; got != want {
			t.Errorf("class of %s: %v, want %s", to, got, want)
		}
	}
}

// everyRecord returns a batch with each kind of record, with all fields that a line
// can have and with as few as possible.
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

// TestUnknownDomain: a question about a domain that is not served has no record,
// because any client can cause it. A question about a served domain has one.
func TestUnknownDomain(t *testing.T) {
	batch := &decision.Batch{Requests: []decision.Request{
		{Kind: decision.Admit, Domain: []byte("nowhere.test")}, {Kind: decision.Admit, Domain: []byte("alpha.test")},
	}}
	results := make([]decision.Result, 2)
	if records := node.Records(nil, time.Time{}, batch, results); len(records) > 0 {
		t.Errorf("recorded %+v", records)
	}
	results[1].Admission.Known = true
	if records := node.Records(nil, time.Time{}, batch, results); len(records) != 1 || string(records[0].Domain) != "alpha.test" {
		t.Errorf("recorded %+v", records)
	}
}

// TestRecordsAreDocumented: the guide documents each key of a record.
func TestRecordsAreDocumented(t *testing.T) {
	guide, err := os.ReadFile("../docs/GUIDE.md")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	golden = append(golden, lines(t, []audit.Record{{Kind: audit.Resumed, Cause: "no space left on device"}})...)
	for line := range bytes.Lines(golden) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		for key := range r {
			if !bytes.Contains(guide, []byte("`"+key+"`")) {
				t.Errorf("docs/GUIDE.md does not document %s", key)
			}
		}
	}
}
