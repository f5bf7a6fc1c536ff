package replica

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-im/postern/events"
)

var (
	sampleTick = tick{
		Node: "n1", Generation: [16]byte{1, 2}, Position: 300, Hash: [32]byte{3}, Level: 28,
		Challenges: []challenge{{"edge1", 1 << 61}, {"edge2", 7}},
	}
	sampleState = state{
		Node: "n1", Boot: 1 << 63, Data: "a1b2c3d4", Generation: [16]byte{1}, Position: 300,
		Hash: [32]byte{3}, Level: 28, Decides: 6, Clock: 1_700_000_000_123, Release: "1.2.3", Age: 150, Failed: true,
	}
)

func TestTickRoundTrip(t *testing.T) {
	data := appendTick(nil, &sampleTick)
	got, known, err := readTick(data)
	if err != nil || !known || !reflect.DeepEqual(got, sampleTick) {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
	data[1] = tickVersion + 1
	if _, known, err := readTick(append(data, "more"...)); known || err != nil {
		t.Errorf("a tick of a newer version: %v, %v", known, err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	data := appendState(nil, &sampleState)
	got, known, err := readState(data)
	if err != nil || !known || got != sampleState {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
	if got, known, err := readState(append(data, "fields of a later release"...)); err != nil || !known || got != sampleState {
		t.Errorf("a state with more fields: %+v, %v, %v", got, known, err)
	}
	if _, _, err := readState(append(data, make([]byte, maxState)...)); err == nil {
		t.Error("a state that is too long is accepted")
	}
	data[0] = stateVersion + 1
	if _, known, err := readState(append(data, "more"...)); known || err != nil {
		t.Errorf("a state of another version: %v, %v", known, err)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	generation := [16]byte{1, 2, 3}
	for _, records := range [][][]byte{
		{[]byte("one")},
		{[]byte("one"), []byte("two"), bytes.Repeat([]byte("a"), 1000)},
		{bytes.Repeat([]byte("a"), events.MaxSize)},
		slicesOf(maxRecords, events.MaxSize/maxRecords),
	} {
		data, err := appendBatch(nil, generation, records)
		if err != nil {
			t.Fatal(err)
		}
		gotGeneration, got, err := readBatch(data)
		if err != nil || gotGeneration != generation || !reflect.DeepEqual(got, records) {
			t.Errorf("%d records: %x, %d records, %v", len(records), gotGeneration, len(got), err)
		}
	}
	for _, records := range [][][]byte{
		{bytes.Repeat([]byte("a"), events.MaxSize+1)},
		slicesOf(maxRecords+1, 1),
	} {
		if _, err := appendBatch(nil, generation, records); err == nil {
			t.Errorf("a batch of %d records is accepted", len(records))
		}
	}
}

func slicesOf(count, size int) [][]byte {
	records := make([][]byte, count)
	for i := range records {
		records[i] = bytes.Repeat([]byte("a"), size)
	}
	return records
}

// TestMalformed cuts each kind of message at every place and adds a byte to it. A state may
// have more bytes, which are the fields of a later release.
func TestMalformed(t *testing.T) {
	batch, err := appendBatch(nil, [16]byte{1}, [][]byte{[]byte("one"), []byte("two")})
	if err != nil {
		t.Fatal(err)
	}
	isState := string(appendState(nil, &sampleState))
	readers := map[string]func([]byte) error{
		string(appendTick(nil, &sampleTick)): func(b []byte) error { _, known, err := readTick(b); return ifKnown(known, err) },
		isState: func(b []byte) error {
			_, known, err := readState(b)
			return ifKnown(known, err)
		},
		string(batch): func(b []byte) error { _, _, err := readBatch(b); return err },
	}
	for data, read := range readers {
		accepted := 0
		for n := range len(data) {
			if read([]byte(data[:n])) == nil {
				accepted++ // whole challenges or records are left
			}
		}
		if accepted > 2 {
			t.Errorf("kind %d: %d incomplete messages are accepted", data[0], accepted)
		}
		if read([]byte(data+"\xff")) == nil != (data == isState) {
			t.Errorf("kind %d: a byte too many is accepted, or is refused in a state", data[0])
		}
	}
	if _, _, err := readTick(appendTick(nil, &tick{Node: strings.Repeat("n", maxName+1)})); err == nil {
		t.Error("a name that is too long is accepted")
	}
}

func ifKnown(known bool, err error) error {
	if !known {
		return errMalformed
	}
	return err
}

func FuzzTick(f *testing.F) {
	f.Add(appendTick(nil, &sampleTick))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, known, err := readTick(data)
		if err == nil && known && !bytes.Equal(appendTick(nil, &got), data) {
			t.Errorf("%x decodes to %+v, which has another encoding", data, got)
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(appendState(nil, &sampleState))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, known, err := readState(data)
		if err == nil && known && !bytes.HasPrefix(data, appendState(nil, &got)) {
			t.Errorf("%x decodes to %+v, which has another encoding", data, got)
		}
	})
}

func FuzzBatch(f *testing.F) {
	batch, err := appendBatch(nil, [16]byte{1}, [][]byte{[]byte("one"), []byte("two")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batch)
	f.Fuzz(func(t *testing.T, data []byte) {
		generation, records, err := readBatch(data)
		if err != nil {
			return
		}
		again, err := appendBatch(nil, generation, records)
		if err == nil && !bytes.Equal(again, data) {
			t.Errorf("%x has another encoding %x", data, again)
		}
	})
}
