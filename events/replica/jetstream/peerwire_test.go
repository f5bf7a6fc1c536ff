package jetstream

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/postern-im/postern/events"
)

func TestPeerWire(t *testing.T) {
	p, asker, err := readHave(appendHave(nil, 1<<63, "n1"))
	if p != 1<<63 || asker != "n1" || err != nil {
		t.Errorf("have: %d, %q, %v", p, asker, err)
	}
	if node, err := readName(appendName(nil, "n2")); node != "n2" || err != nil {
		t.Errorf("name: %q, %v", node, err)
	}
	if from, to, err := readRange(appendRange(nil, 7, 1<<40)); from != 7 || to != 1<<40 || err != nil {
		t.Errorf("range: %d, %d, %v", from, to, err)
	}
	want := part{first: 300, last: true, records: [][]byte{[]byte("a"), bytes.Repeat([]byte("b"), events.MaxSize)}}
	if got, err := readPart(appendPart(nil, want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("part: %d, %v, %d records, %v", got.first, got.last, len(got.records), err)
	}
	if _, err := readPart(appendRefusal(nil, "no")); err == nil || err == errMessage {
		t.Errorf("refusal: %v", err)
	}
	for name, b := range map[string][]byte{
		"range backwards": appendRange(nil, 2, 1),
		"range from zero": appendRange(nil, 0, 1),
		"range too long":  append(appendRange(nil, 1, 2), 0),
		"range too short": appendRange(nil, 1, 1<<20)[:3],
		"another kind":    appendName(nil, "n1"),
		"nothing":         nil,
	} {
		if _, _, err := readRange(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzPeerWire(f *testing.F) {
	f.Add(appendHave(nil, 12, "n1"))
	f.Add(appendName(nil, "n1"))
	f.Add(appendRange(nil, 1, 300))
	f.Add(appendPart(nil, part{first: 300, records: [][]byte{[]byte("a"), []byte("bc")}}))
	f.Add(appendRefusal(nil, "no"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := readPart(b); err == nil {
			if again, err := readPart(appendPart(nil, p)); err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%v is read again as %v, %v", p, again, err)
			}
		}
		if from, to, err := readRange(b); err == nil && (from == 0 || from > to) {
			t.Errorf("range %d to %d", from, to)
		}
		if p, asker, err := readHave(b); err == nil {
			if p2, a2, err := readHave(appendHave(nil, p, asker)); p2 != p || a2 != asker || err != nil {
				t.Errorf("have %d %q", p, asker)
			}
		}
		if node, err := readName(b); err == nil && (node == "" || len(node) > maxID) {
			t.Errorf("name %q", node)
		}
	})
}
