package events_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

// logID is an id that a log can have.
const logID = "0123456789abcdef0123456789abcdef"

func sampleGeneration() events.Generation {
	return events.Generation{ID: [16]byte{1, 15: 2}, Cluster: "acme-EU_1", LogID: logID, Position: 300, Hash: [32]byte{3, 31: 4}}
}

// TestGeneration: a valid Generation survives its encoding. The bytes are stored in
// logs, so they must never change.
func TestGeneration(t *testing.T) {
	full := sampleGeneration()
	const want = "\x03\x01" +
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" +
		"\xac\x02" +
		"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04" +
		"\x20" + logID + "\x09acme-EU_1"
	if got := events.AppendGeneration([]byte("x"), &full); string(got) != "x"+want {
		t.Errorf("encoded as %q", got)
	}
	empty := full
	empty.Position, empty.Hash = 0, [32]byte{}
	far := full
	far.Position, far.Cluster = math.MaxUint64, strings.Repeat("a", events.MaxClusterName)
	for _, g := range []events.Generation{full, empty, far} {
		got, err := events.DecodeGeneration(events.AppendGeneration(nil, &g))
		if err != nil || got != g {
			t.Errorf("%+v was read as %+v, %v", g, got, err)
		}
	}
}

// TestGenerationInvalid: neither an incomplete Generation nor another encoding of a
// valid one is accepted.
func TestGenerationInvalid(t *testing.T) {
	for text, change := range map[string]func(*events.Generation){
		"id: missing":               func(g *events.Generation) { g.ID = [16]byte{} },
		"needs a name":              func(g *events.Generation) { g.Cluster = "" },
		"has 64 bytes":              func(g *events.Generation) { g.Cluster = strings.Repeat("a", 64) },
		"other than letters":        func(g *events.Generation) { g.Cluster = "a.b" },
		`"\xff" has characters`:     func(g *events.Generation) { g.Cluster = "\xff" },
		`log id "": malformed`:      func(g *events.Generation) { g.LogID = "" },
		`log id "00": malformed`:    func(g *events.Generation) { g.LogID = "00" },
		"EF\": malformed":           func(g *events.Generation) { g.LogID = strings.ToUpper(logID) },
		"zz\": malformed":           func(g *events.Generation) { g.LogID = logID[2:] + "zz" },
		"hash at position 0: malf":  func(g *events.Generation) { g.Position = 0 },
		"hash at position 300: mal": func(g *events.Generation) { g.Hash = [32]byte{} },
	} {
		g := sampleGeneration()
		change(&g)
		if _, err := events.DecodeGeneration(events.AppendGeneration(nil, &g)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", g, err, text)
		}
	}
	g := sampleGeneration()
	whole := events.AppendGeneration(nil, &g)
	for n := range whole {
		if _, err := events.DecodeGeneration(whole[:n]); err == nil {
			t.Errorf("the first %d bytes were accepted", n)
		}
	}
	const at = 2 + 16 // the position
	longer := slices.Concat(whole[:at], []byte{0xac, 0x82, 0x00}, whole[at+2:])
	for name, b := range map[string][]byte{
		"a byte too many":      append(slices.Clone(whole), 0),
		"another kind":         append([]byte{1}, whole[1:]...),
		"a long varint":        longer,
		"bytes of another one": append(slices.Clone(whole), whole...),
	} {
		if _, err := events.DecodeGeneration(b); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	whole[1]++
	if _, err := events.DecodeGeneration(whole); !errors.Is(err, events.ErrUnknownValue) {
		t.Errorf("a later version: %v", err)
	}
}

// FuzzGeneration: accepted bytes are the only encoding of a valid Generation.
func FuzzGeneration(f *testing.F) {
	g := sampleGeneration()
	f.Add(events.AppendGeneration(nil, &g))
	g.Position, g.Hash = 0, [32]byte{}
	f.Add(events.AppendGeneration(nil, &g))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := events.DecodeGeneration(b)
		if err != nil {
			return
		}
		if err := g.Check(); err != nil {
			t.Fatalf("accepted %+v: %v", g, err)
		}
		if again := events.AppendGeneration(nil, &g); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
	})
}

// TestLevel: Level is the highest number in the schema, and each event has its
// number.
func TestLevel(t *testing.T) {
	one := schema(t).Messages().ByName("Event")
	var highest uint64
	for i := range one.Fields().Len() {
		highest = max(highest, uint64(one.Fields().Get(i).Number()))
	}
	if events.ClusterLevel != 30 {
		t.Errorf("ClusterLevel is %d: it stays the level of the first version with clusters", events.ClusterLevel)
	}
	if events.Level != highest {
		t.Errorf("Level is %d, the newest event has number %d", events.Level, highest)
	}
	for _, e := range everyEvent() {
		want := uint64(fieldByLetters(one, reflect.TypeOf(e).Name()).Number())
		if got := events.LevelOf(e); got != want {
			t.Errorf("LevelOf(%T) is %d, want %d", e, got, want)
		}
	}
}
