package decision

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

func addr(t testing.TB, s string) jid.Addr {
	t.Helper()
	a, err := jid.Split([]byte(s))
	if err != nil {
		t.Fatalf("split %q: %v", s, err)
	}
	return a
}

func session() Session {
	return Session{
		ID:       []byte("s1f00"),
		Tenant:   []byte("acme"),
		Account:  []byte("bob@alpha.test"),
		Resource: []byte("phone"),
		Opened:   4711,

		OpenedLog: []byte("0123456789abcdef0123456789abcdef"),
	}
}

// chat returns the question about an ordinary chat message.
func chat(t testing.TB) Question {
	return Question{ID: 77, Session: session(), Desc: stanza.Descriptor{
		Kind: stanza.Message, Type: stanza.Chat, Marks: stanza.HasContent,
		ID: []byte("m1"), HasID: true,
		To: addr(t, "carol@alpha.test"),
		Payloads: []stanza.Part{
			{Space: stanza.Client, Local: []byte("body")},
			{Space: stanza.OtherSpace, Other: []byte("urn:xmpp:receipts"), Local: []byte("request")},
		},
	}}
}

// full returns a question with every field set.
func full(t testing.TB) Question {
	q := Question{ID: 1<<64 - 1, Session: session(), Direction: In, Joined: true, MUC: true, Queried: true, Outstanding: true}
	q.Session.Grant = []byte("g-1")
	q.Desc = stanza.Descriptor{
		Kind: stanza.IQ, Type: stanza.Set, Fault: stanza.BadIQ,
		Marks: stanza.HasContent | stanza.NegativePriority,
		ID:    []byte("x"), HasID: true, ToEdited: true,
		To: addr(t, "bob@alpha.test/phone"), From: addr(t, "muc.alpha.test"),
		Payloads: []stanza.Part{{Space: stanza.PubSub, Local: []byte("pubsub"), HasNode: true}},
		Parts: []stanza.Part{
			{Space: stanza.PubSub, Local: []byte("publish"), HasNode: true, Node: []byte("urn:xmpp:bookmarks:1"), Inner: true},
			{Space: stanza.MAM, Other: []byte("urn:xmpp:mam:2"), Local: []byte("query")},
		},
		Addressed: []jid.Addr{addr(t, "eve@beta.test"), addr(t, "beta.test")},
		Inside:    []jid.Addr{addr(t, "mallory@beta.test/☺")},
	}
	return q
}

// normal formats a question so that empty and nil slices compare equal.
func normal(q Question) string { return fmt.Sprintf("%+v", q) }

func TestQuestionRoundTrip(t *testing.T) {
	odd := chat(t)
	odd.Session.Resource = nil
	odd.Desc.ID, odd.Desc.Payloads = nil, nil // the id is present but empty
	undescribable := chat(t)
	undescribable.Desc.Fault = stanza.Undescribable
	undescribable.Desc.Payloads[1].Other = nil
	for name, q := range map[string]Question{"chat": chat(t), "full": full(t), "odd": odd, "undescribable": undescribable} {
		b := AppendQuestion([]byte("before"), &q)[len("before"):]
		var got Question
		rest, err := DecodeQuestion(append(b, "after"...), &got)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(rest) != "after" {
			t.Errorf("%s: rest is %q", name, rest)
		}
		if normal(got) != normal(q) {
			t.Errorf("%s:\n got %s\nwant %s", name, normal(got), normal(q))
		}
		for n := range len(b) {
			if _, err := DecodeQuestion(b[:n], &got); err == nil {
				t.Errorf("%s: the first %d of %d bytes were accepted", name, n, len(b))
			}
		}
		if s := q.sizeAtMost(); s < len(b) {
			t.Errorf("%s: sizeAtMost is %d, the encoding has %d bytes", name, s, len(b))
		}
	}
}

// TestQuestionRefused checks that a node refuses a question with an invalid field.
func TestQuestionRefused(t *testing.T) {
	long := bytes.Repeat([]byte("x"), stanza.MaxText+1)
	for _, tt := range []struct {
		field string
		spoil func(*Question)
	}{
		{"kind", func(q *Question) { q.Desc.Kind = 200 }},
		{"type", func(q *Question) { q.Desc.Type = 200 }},
		{"fault", func(q *Question) { q.Desc.Fault = 200 }},
		{"marks", func(q *Question) { q.Desc.Marks = 1 << 15 }},
		{"tenant", func(q *Question) { q.Session.Tenant = []byte("Acme") }},
		{"tenant", func(q *Question) { q.Session.Tenant = []byte("-acme") }},
		{"tenant", func(q *Question) { q.Session.Tenant = nil }},
		{"tenant", func(q *Question) { q.Session.Tenant = bytes.Repeat([]byte("a"), 33) }},
		{"account", func(q *Question) { q.Session.Account = []byte("Bob@alpha.test") }},
		{"account", func(q *Question) { q.Session.Account = []byte("alpha.test") }},
		{"account", func(q *Question) { q.Session.Account = nil; q.Session.Resource = nil }},
		{"session id", func(q *Question) { q.Session.ID = long }},
		{"grant", func(q *Question) { q.Session.Grant = long }},
		{"log opened under", func(q *Question) { q.Session.OpenedLog = long }},
		{"stanza id", func(q *Question) { q.Desc.ID = long }},
		{"payloads", func(q *Question) { q.Desc.Payloads[0].Space = 250 }},
		{"payloads", func(q *Question) { q.Desc.Payloads[1].Other = []byte("jabber:iq:roster") }},
		{"payloads", func(q *Question) { q.Desc.Payloads[1].Other = nil }},
		{"payloads", func(q *Question) { q.Desc.Payloads[0].Local = long }},
		{"payloads", func(q *Question) { q.Desc.Payloads = make([]stanza.Part, stanza.MaxPayloads+1) }},
		{"parts", func(q *Question) { q.Desc.Parts = make([]stanza.Part, stanza.MaxParts+1) }},
		{"addressed", func(q *Question) { q.Desc.Addressed = make([]jid.Addr, stanza.MaxAddressed+1) }},
		{"addressed", func(q *Question) { q.Desc.Addressed = make([]jid.Addr, 1) }},
		{"inside", func(q *Question) { q.Desc.Inside = make([]jid.Addr, stanza.MaxAddressed+1) }},
		{"inside", func(q *Question) { q.Desc.Inside = make([]jid.Addr, 1) }},
	} {
		q := chat(t)
		tt.spoil(&q)
		var got Question
		_, err := DecodeQuestion(AppendQuestion(nil, &q), &got)
		var bad *MalformedError
		if !errors.As(err, &bad) || bad.Field != tt.field {
			t.Errorf("want %q refused, got %v", tt.field, err)
		}
	}
	b := AppendQuestion(nil, &Question{Session: session()})
	at := bytes.Index(b, session().OpenedLog) + len(session().OpenedLog)
	b[at+1] = 0x80
	if _, err := DecodeQuestion(b, new(Question)); err == nil || !strings.Contains(err.Error(), "flags") {
		t.Errorf("an unknown flag: got %v", err)
	}
}

func TestNumbersHaveOneForm(t *testing.T) {
	for _, tt := range []struct {
		in string
		ok bool
	}{
		{"\x00", true}, {"\x7f", true}, {"\x80\x01", true}, {"\x80\x00", false}, {"\xff\x80\x00", false}, {"\x80", false}, {"", false},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", true}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", false},
	} {
		r := reader{b: []byte(tt.in)}
		r.number("n")
		if got := r.err() == nil; got != tt.ok {
			t.Errorf("number % x: accepted %v, want %v", tt.in, got, tt.ok)
		}
	}
}

func TestNewQuestionIsBounded(t *testing.T) {
	text := bytes.Repeat([]byte("n"), stanza.MaxText)
	part := stanza.Part{Space: stanza.PubSub, Local: text, HasNode: true, Node: text}
	var d stanza.Descriptor
	for range stanza.MaxParts {
		d.Parts = append(d.Parts, part)
	}
	q := NewQuestion(session(), Out, &d, nil)
	if q.Desc.Fault != stanza.Undescribable || len(q.Desc.Parts) != 0 {
		t.Errorf("a question over MaxQuestion: fault %v, %d parts", q.Desc.Fault, len(q.Desc.Parts))
	}
	d.Parts = d.Parts[:16]
	q = NewQuestion(session(), Out, &d, nil)
	if q.Desc.Fault != stanza.NoFault {
		t.Errorf("a question under MaxQuestion has fault %v", q.Desc.Fault)
	}
}

func reply() Reply {
	at := Mark{LogID: "0123456789abcdef", Position: 900}
	return Reply{
		ReplyHead: ReplyHead{ID: 5, Node: "n1", At: at, Wire: Wire1},
		Results: []Result{
			{Kind: Ask, Verdict: Verdict{Effect: Pass, LogID: at.LogID, Position: 900}},
			{Kind: Ask, Verdict: Verdict{Effect: Refuse, Reason: NoMessage, Permission: "xmpp:account:messages:write", LogID: at.LogID, Position: 901}},
			{Kind: Admit, Admission: Admission{Known: true, Tenant: "acme", Domain: "alpha.test", LogID: at.LogID, Position: 901, Backends: []Backend{
				{Address: "127.0.0.1:15222"}, {Address: "[::1]:5223", Security: TLS}, {Address: "10.0.0.1:5222", Security: StartTLS, Proxy: true},
			}}},
			{Kind: Admit, Admission: Admission{Known: true, Tenant: "acme", Domain: "alpha.test", MaxSessions: 300, LogID: at.LogID, Position: 901}},
			{Kind: Admit, Admission: Admission{LogID: at.LogID, Position: 901}},
			{Kind: Open, Opening: Opening{Allowed: true, LogID: at.LogID, Position: 901}},
		},
	}
}

// clear removes from each result the fields of other kinds, so that replies can
// be compared.
func clear(r Reply) Reply {
	for i := range r.Results {
		switch res := &r.Results[i]; res.Kind {
		case Ask:
			*res = Result{Kind: Ask, Verdict: res.Verdict}
		case Admit:
			*res = Result{Kind: Admit, Admission: res.Admission}
		case Open:
			*res = Result{Kind: Open, Opening: res.Opening}
		}
	}
	return r
}

func TestMessagesRoundTrip(t *testing.T) {
	want := reply()
	var got Reply
	msg := AppendReply(nil, &want)
	if err := DecodeReply(msg, &got); err != nil {
		t.Fatal(err)
	}
	if got = clear(got); !reflect.DeepEqual(got, want) {
		t.Errorf("reply:\n got %+v\nwant %+v", got, want)
	}
	behind := Reply{ReplyHead: ReplyHead{ID: 6, Status: StatusBehind, Node: "n1", At: want.At, Wire: Wire1}}
	if err := DecodeReply(AppendReply(nil, &behind), &got); err != nil || len(got.Results) != 0 || got.ReplyHead != behind.ReplyHead {
		t.Errorf("a reply without results: %+v, %v", got, err)
	}

	a := Announcement{Node: "n1", Boot: 99, Load: 250, Ready: true, At: want.At, Wire: Wire1}
	var gotA Announcement
	if err := DecodeAnnouncement(AppendAnnouncement(nil, &a), &gotA); err != nil || gotA != a {
		t.Errorf("announcement: %+v, %v", gotA, err)
	}
	for _, e := range []Revocation{{Tenant: "acme", Account: "bob@alpha.test", Position: 7, LogID: "l"}, {Tenant: "acme", Position: 8}} {
		var gotE Revocation
		if err := DecodeRevocation(AppendRevocation(nil, &e), &gotE); err != nil || gotE != e {
			t.Errorf("revocation: %+v, %v", gotE, err)
		}
	}

	q, s := full(t), session()
	head := BatchHead{Gateway: "gw1", ID: 12, AtLeast: want.At, Wire: Wire1}
	batch := AppendOpen(AppendAdmit(AppendQuestion(AppendBatch(nil, &head, 3), &q), "alpha.test"), &s)
	var gotB Batch
	for range 2 { // the second time, the slices are reused
		if err := DecodeBatch(batch, &gotB); err != nil {
			t.Fatal(err)
		}
		if gotB.BatchHead != head || len(gotB.Requests) != 3 {
			t.Fatalf("batch head %+v, %d requests", gotB.BatchHead, len(gotB.Requests))
		}
		r := gotB.Requests
		if r[0].Kind != Ask || normal(r[0].Question) != normal(q) {
			t.Errorf("question: %+v", r[0])
		}
		if r[1].Kind != Admit || string(r[1].Domain) != "alpha.test" {
			t.Errorf("admit: %+v", r[1])
		}
		if r[2].Kind != Open || !reflect.DeepEqual(r[2].Session, s) {
			t.Errorf("open: %+v", r[2].Session)
		}
	}
	everyPrefixFails(t, "batch", batch, func(b []byte) error { return DecodeBatch(b, &gotB) })
	everyPrefixFails(t, "reply", msg, func(b []byte) error { return DecodeReply(b, &got) })
}

func everyPrefixFails(t *testing.T, name string, msg []byte, decode func([]byte) error) {
	t.Helper()
	for n := range len(msg) {
		if decode(msg[:n]) == nil {
			t.Errorf("%s: the first %d of %d bytes were accepted", name, n, len(msg))
		}
	}
	if decode(append(bytes.Clone(msg), 0)) == nil {
		t.Errorf("%s: a trailing byte was accepted", name)
	}
}

func TestResultsRefused(t *testing.T) {
	for _, tt := range []struct {
		field string
		spoil func(*Reply)
	}{
		{"effect", func(r *Reply) { r.Results[0].Verdict.Effect = Undecided }},
		{"effect", func(r *Reply) { r.Results[0].Verdict.Effect = numEffects }},
		{"reason", func(r *Reply) { r.Results[0].Verdict.Reason = numReasons }},
		{"permission", func(r *Reply) { r.Results[0].Verdict.Permission = strings.Repeat("p", 2000) }},
		{"status", func(r *Reply) { r.Status = numStatuses }},
		{"node", func(r *Reply) { r.Node = "n.1" }},
		{"node", func(r *Reply) { r.Node = "" }},
		{"node", func(r *Reply) { r.Node = "*" }},
		{"log id", func(r *Reply) { r.At.LogID = strings.Repeat("l", 65) }},
		{"tenant", func(r *Reply) { r.Results[2].Admission.Tenant = "a.b" }},
		{"domain", func(r *Reply) { r.Results[2].Admission.Domain = "Alpha.test" }},
		{"domain", func(r *Reply) { r.Results[2].Admission.Domain = "x@alpha.test" }},
		{"security", func(r *Reply) { r.Results[2].Admission.Backends[0].Security = numSecurities }},
		{"backend", func(r *Reply) { r.Results[2].Admission.Backends[0].Address = "" }},
		{"backends", func(r *Reply) { r.Results[2].Admission.Backends = make([]Backend, 17) }},
		{"results", func(r *Reply) { r.Results = make([]Result, MaxBatch+1) }},
	} {
		r := reply()
		tt.spoil(&r)
		var bad *MalformedError
		if err := DecodeReply(AppendReply(nil, &r), new(Reply)); !errors.As(err, &bad) || bad.Field != tt.field {
			t.Errorf("want %q refused, got %v", tt.field, err)
		}
	}
}

// TestAdmissionFlags checks that the session limit has one encoding only, and that
// an admission with an unknown flag is refused.
func TestAdmissionFlags(t *testing.T) {
	limited := AppendAdmission(nil, &Admission{Known: true, Tenant: "acme", Domain: "alpha.test", MaxSessions: 5})
	var a Admission
	if rest, err := DecodeAdmission(limited, &a); err != nil || len(rest) != 0 || a.MaxSessions != 5 {
		t.Fatalf("%+v, %v", a, err)
	}
	none := bytes.Clone(limited)
	none[len(none)-2] = 0
	for what, b := range map[string][]byte{
		"a limit of zero":                  none,
		"a limit for an unknown domain":    {byte(tagAdmission), flagLimited, 0},
		"an unknown flag":                  {byte(tagAdmission), 4, 0},
		"an unknown flag, a known domain":  append([]byte{limited[0], limited[1] | 4}, limited[2:]...),
		"a limit where the flag is absent": append([]byte{limited[0], flagKnown}, limited[2:]...),
	} {
		if rest, err := DecodeAdmission(b, &a); err == nil && len(rest) == 0 {
			t.Errorf("%s: accepted as %+v", what, a)
		}
	}
	if unknown := AppendAdmission(nil, &Admission{MaxSessions: 5}); !bytes.Equal(unknown, []byte{byte(tagAdmission), 0, 0}) {
		t.Errorf("an unknown domain with a limit: % x", unknown)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	q := full(t)
	head := BatchHead{Gateway: "gw1", ID: 12, AtLeast: Mark{LogID: "0123456789abcdef", Position: 1}}
	msg := AppendQuestion(AppendQuestion(AppendBatch(nil, &head, 2), &q), &q)
	var b Batch
	if n := testing.AllocsPerRun(100, func() {
		if err := DecodeBatch(msg, &b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding a batch allocates %v times", n)
	}
	r := reply()
	r.Results = r.Results[:2]
	rep := AppendReply(nil, &r)
	var out Reply
	if n := testing.AllocsPerRun(100, func() {
		if err := DecodeReply(rep, &out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("decoding a reply allocates %v times", n)
	}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = AppendQuestion(buf[:0], &q) }); n != 0 {
		t.Errorf("encoding a question allocates %v times", n)
	}
}

// The fuzzers check two guarantees: decoding never panics, and each accepted
// value has one encoding only.

func FuzzDecodeBatch(f *testing.F) {
	q, c, s := full(f), chat(f), session()
	head := BatchHead{Gateway: "gw1", ID: 12, AtLeast: Mark{LogID: "l", Position: 1}}
	f.Add(AppendQuestion(AppendBatch(nil, &head, 1), &q))
	f.Add(AppendQuestion(AppendBatch(nil, &head, 1), &c))
	f.Add(AppendOpen(AppendAdmit(AppendBatch(nil, &head, 2), "alpha.test"), &s))
	f.Add(AppendBatch(nil, &head, 0))
	head.Wire, head.Challenge = Wire2, 1<<61
	f.Add(AppendQuestion(AppendBatch(nil, &head, 1), &c))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var b Batch
		if DecodeBatch(msg, &b) != nil {
			return
		}
		again := AppendBatch(nil, &b.BatchHead, len(b.Requests))
		for i := range b.Requests {
			switch r := &b.Requests[i]; r.Kind {
			case Ask:
				n := len(again)
				again = AppendQuestion(again, &r.Question)
				if r.Question.sizeAtMost() < len(again)-n {
					t.Errorf("sizeAtMost is %d, the encoding has %d bytes", r.Question.sizeAtMost(), len(again)-n)
				}
			case Admit:
				again = AppendAdmit(again, string(r.Domain))
			case Open:
				again = AppendOpen(again, &r.Session)
			}
		}
		if !bytes.Equal(again, msg) {
			t.Errorf("two encodings:\n% x\n% x", msg, again)
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	r := reply()
	f.Add(AppendReply(nil, &r))
	r.Status = StatusBehind
	f.Add(AppendReply(nil, &r))
	r.Status, r.Wire = StatusBusy, Wire2
	f.Add(AppendReply(nil, &r))
	r.Status, r.Proven = StatusOK, 1<<61
	f.Add(AppendReply(nil, &r))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var r Reply
		if DecodeReply(msg, &r) != nil {
			return
		}
		if again := AppendReply(nil, &r); !bytes.Equal(again, msg) {
			t.Errorf("two encodings:\n% x\n% x", msg, again)
		}
	})
}

func FuzzDecodeNotice(f *testing.F) {
	state := Announcement{Node: "n1", Boot: 99, Load: 250, Ready: true, At: Mark{"l", 3}, Wire: Wire2, Level: 29}
	f.Add(AppendAnnouncement(nil, &state))
	f.Add(AppendExtended(nil, &state))
	f.Add(AppendChallenge(nil, 1<<61))
	f.Add(AppendRevocation(nil, &Revocation{Tenant: "acme", Account: "bob@alpha.test", Position: 7, LogID: "l"}))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var a Announcement
		if DecodeAnnouncement(msg, &a) == nil && !bytes.Equal(AppendAnnouncement(nil, &a), msg) {
			t.Errorf("two encodings of %+v", a)
		}
		if DecodeExtended(msg, &a) == nil && !bytes.Equal(AppendExtended(nil, &a), msg) {
			t.Errorf("two encodings of %+v", a)
		}
		if c, err := DecodeChallenge(msg); err == nil && !bytes.Equal(AppendChallenge(nil, c), msg) {
			t.Errorf("two encodings of %d", c)
		}
		var e Revocation
		if DecodeRevocation(msg, &e) == nil && !bytes.Equal(AppendRevocation(nil, &e), msg) {
			t.Errorf("two encodings of %+v", e)
		}
	})
}

func BenchmarkAppendQuestion(b *testing.B) {
	q := chat(b)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendQuestion(buf[:0], &q)
	}
	b.ReportMetric(float64(len(buf)), "wire-B")
}

func BenchmarkDecodeQuestion(b *testing.B) {
	q := chat(b)
	msg := AppendQuestion(nil, &q)
	var got Question
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeQuestion(msg, &got); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeVerdict(b *testing.B) {
	msg := AppendVerdict(nil, &Verdict{Effect: Pass, Position: 12345})
	var v Verdict
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeVerdict(msg, &v); err != nil {
			b.Fatal(err)
		}
	}
}
