package replica

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/postern-im/postern/events"
)

// The messages of the first release with clusters. Nodes of several releases read the same
// order, and an order keeps its batches for ever.
const (
	firstTick  = "0201026e3101020000000000000000000000000000ac0203000000000000000000000000000000000000000000000000000000000000001e0565646765312000000000000000032e6e310000000000000007"
	firstState = "01026e3180000000000000000b6e312d613162326333643401000000000000000000000000000000ac0203000000000000000000000000000000000000000000000000000000000000001eab02fbd095ffbc3105312e302e30960100"
	firstBatch = "0101000000000000000000000000000000036f6e650374776f"
)

// TestFirstFormats checks that this version reads what the first release with clusters
// wrote. Newer versions may write more.
func TestFirstFormats(t *testing.T) {
	tk, known, err := readTick(decodeHex(t, firstTick))
	if want := (tick{
		Node: "n1", Generation: [16]byte{1, 2}, Position: 300, Hash: [32]byte{3}, Level: 30,
		Challenges: []challenge{{"edge1", 1 << 61}, {".n1", 7}},
	}); err != nil || !known || !reflect.DeepEqual(tk, want) {
		t.Errorf("tick: %+v, %v, %v", tk, known, err)
	}
	s, known, err := readState(decodeHex(t, firstState))
	if want := (state{
		Node: "n1", Boot: 1 << 63, Data: "n1-a1b2c3d4", Generation: [16]byte{1}, Position: 300, Hash: [32]byte{3},
		Level: 30, Decides: 299, Clock: 1_700_000_000_123, Release: "1.0.0", Age: 150,
	}); err != nil || !known || s != want {
		t.Errorf("state: %+v, %v, %v", s, known, err)
	}
	generation, records, err := readBatch(decodeHex(t, firstBatch))
	if err != nil || generation != [16]byte{1} || len(records) != 2 || string(records[0]) != "one" || string(records[1]) != "two" {
		t.Errorf("batch: %x, %q, %v", generation, records, err)
	}
}

func decodeHex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNewerTick checks that a tick of a later release is ignored, whatever its fields, and
// proves nothing. Its node offers nothing else that a node of this release could miss.
func TestNewerTick(t *testing.T) {
	data := decodeHex(t, firstTick)
	data[1] = tickVersion + 1
	for _, more := range [][]byte{nil, {0xff}, make([]byte, 1000)} {
		r := reading{generation: events.Generation{ID: [16]byte{1, 2}}, begun: true}
		s, n, err := r.plan(head{}, []Entry{{1, append(data[:len(data):len(data)], more...)}, {2, data[:2]}})
		if err != nil || n != 2 || len(s.ticks)+len(s.records) != 0 {
			t.Errorf("%d entries, %d ticks, %d records, %v", n, len(s.ticks), len(s.records), err)
		}
	}
}
