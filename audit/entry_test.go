package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stanza"
)

// names numbers names for tests. The number of a name is its place in the list.
type names struct{ list []Name }

func (n *names) number(kind NameKind, text []byte) uint64 {
	for i, name := range n.list {
		if name.Kind == kind && bytes.Equal(name.Text, text) {
			return uint64(i + 1)
		}
	}
	n.list = append(n.list, Name{kind, bytes.Clone(text)})
	return uint64(len(n.list))
}

func (n *names) text(number uint64) []byte { return n.list[number-1].Text }

func someRecord(rng *rand.Rand) Record {
	one := func(list ...string) string { return list[rng.IntN(len(list))] }
	r := Record{Kind: Kind(1 + rng.IntN(int(numKinds)-1))}
	session := Session{
		ID: []byte(one("s1", "s2", "s3")), Account: []byte(one("ann@a.test", "bob@a.test")), Gateway: []byte(one("g1", "g2")),
		Opened: uint64(rng.IntN(3)), Foreign: rng.IntN(9) == 0,
	}
	if r.Kind == VerdictKind {
		f := decision.Facts{Kind: stanza.Message, Type: stanza.Chat, Peer: decision.Remote, PeerLocal: rng.IntN(2) == 0}
		v := decision.Verdict{Effect: decision.Pass}
		if rng.IntN(2) == 0 {
			v = decision.Verdict{Effect: decision.Refuse, Reason: decision.NoMessage, Permission: "xmpp:account:messages:write"}
		}
		r.Session, r.Question, r.Judged = session, rng.Uint64N(1000), AppendJudged(nil, &f, &v)
		if rng.IntN(2) == 0 {
			r.Peer = Name{JIDName, []byte(one("far.test", "eve@far.test"))}
		}
		return r
	}
	r.Body = newBody(r.Kind)
	if r.Kind == OpeningKind || r.Kind == ClosingKind {
		r.Session = session
	}
	// Fill each field of the body by its type.
	v := reflect.ValueOf(r.Body).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString(one("", "x", "ann@a.test", "192.0.2.7", "a longer text"))
		case bool:
			f.SetBool(rng.IntN(2) == 0)
		case uint64:
			f.SetUint(rng.Uint64())
		case time.Duration:
			f.SetInt(rng.Int64N(1<<40) / int64(time.Millisecond) * int64(time.Millisecond))
		case []string:
			if rng.IntN(2) == 0 {
				f.Set(reflect.ValueOf([]string{"a", "", "b"}))
			}
		default:
			panic(fmt.Sprintf("a field of type %v", f.Type()))
		}
	}
	return r
}

// TestEntry builds entries of random records, decodes them and compares every field.
func TestEntry(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var e Entry
	for round := range 300 {
		var n names
		g := &Group{LogID: "log", Position: rng.Uint64N(1 << 40), Table: 2, Describer: 1}
		b := NewBuilder(n.number)
		b.Reset([]byte("acme"), g)
		var want []Record
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		for range 1 + rng.IntN(40) {
			r := someRecord(rng)
			at = at.Add(time.Duration(rng.IntN(3)) * time.Microsecond)
			b.Add(&r, at.UnixMicro())
			r.Tenant, r.LogID, r.Position, r.Table, r.Describer, r.Time = []byte("acme"), []byte("log"), g.Position, 2, 1, at
			want = append(want, r)
		}
		for i, name := range n.list {
			b.Introduce(Introduction{uint64(i + 1), name.Commit(Salt{1})})
		}
		if err := DecodeEntry(b.AppendEntry(nil), &e); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(e.Items) != len(want) || len(e.Introduces) != len(n.list) {
			t.Fatalf("round %d: %d records and %d names", round, len(e.Items), len(e.Introduces))
		}
		for i := range want {
			var got Record
			if err := e.Record(i, n.text, &got); err != nil {
				t.Fatalf("round %d, record %d: %v", round, i, err)
			}
			if fmt.Sprintf("%+v", flat(got)) != fmt.Sprintf("%+v", flat(want[i])) {
				t.Fatalf("round %d, record %d:\n%+v\n%+v", round, i, flat(got), flat(want[i]))
			}
		}
	}
}

// flat returns a record with its body by value, to print it.
func flat(r Record) any {
	if r.Body == nil {
		return r
	}
	body := reflect.ValueOf(r.Body).Elem().Interface()
	r.Body = nil
	return []any{r, body}
}

// TestUnknownVersion: an entry of a later version is named, not guessed at.
func TestUnknownVersion(t *testing.T) {
	var e Entry
	var version *VersionError
	if err := DecodeEntry([]byte{entryVersion + 1, 0, 0}, &e); !errors.As(err, &version) || version.Version != entryVersion+1 {
		t.Errorf("got %v", err)
	}
}

// FuzzEntry decodes bytes. An entry that can be decoded must be built to the same
// bytes.
func FuzzEntry(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 8 {
		var n names
		b := NewBuilder(n.number)
		b.Reset([]byte("acme"), &Group{LogID: "log", Position: 7})
		for range 4 {
			r := someRecord(rng)
			b.Add(&r, 1000)
		}
		b.Introduce(Introduction{Number: 1})
		b.Introduce(Introduction{Number: 9})
		f.Add(b.AppendEntry(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var e Entry
		if DecodeEntry(data, &e) != nil {
			return
		}
		b := NewBuilder(func(_ NameKind, text []byte) uint64 {
			n, _ := strconv.ParseUint(string(text), 10, 64)
			return n
		})
		b.Reset(e.Tenant, &Group{LogID: string(e.LogID), Position: e.Position, Table: e.Table, Describer: e.Describer})
		for _, i := range e.Introduces {
			b.Introduce(i)
		}
		for i := range e.Items {
			var r Record
			err := e.Record(i, func(n uint64) []byte { return strconv.AppendUint(nil, n, 10) }, &r)
			if err != nil || r.Kind != VerdictKind && r.Session.Opened+uint64(len(r.Session.ID)) == 0 && e.Items[i].Session >= 0 {
				return // a body that its own decoder refuses, or a session without an id
			}
			b.Add(&r, e.Items[i].Time)
		}
		if again := b.AppendEntry(nil); !bytes.Equal(again, data) {
			t.Fatalf("%x was built as %x", data, again)
		}
	})
}
