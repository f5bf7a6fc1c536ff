package jsonl

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestResumed: the record at the end of an outage has the expected line.
func TestResumed(t *testing.T) {
	var l lines
	l.addAll([]Record{{
		Kind: Resumed, Time: time.Date(2026, 3, 1, 12, 0, 9, 0, time.UTC), Node: "n1", Position: 7,
		Stopped: time.Date(2026, 3, 1, 13, 0, 0, 5e8, time.FixedZone("", 3600)), Cause: "write \"x\": no space left on device",
	}})
	const want = `{"time":"2026-03-01T12:00:09Z","msg":"resumed","stopped":"2026-03-01T12:00:00.5Z",` +
		`"cause":"write \"x\": no space left on device","position":7,"node":"n1"}` + "\n"
	if string(l) != want {
		t.Errorf("got  %swant %s", l, want)
	}
}

// TestTimes: each record in a call has its own time.
func TestTimes(t *testing.T) {
	var l lines
	var records []Record
	for i := range 3 {
		records = append(records, Record{Kind: Opening, Time: time.Unix(int64(i), 0)}, Record{Kind: Opening, Time: time.Unix(int64(i), 0)})
	}
	l.addAll(records)
	for i, line := range strings.Split(strings.TrimSuffix(string(l), "\n"), "\n") {
		var r struct{ Time time.Time }
		if err := json.Unmarshal([]byte(line), &r); err != nil || !r.Time.Equal(records[i].Time) {
			t.Errorf("line %d: %s: %v", i, line, err)
		}
	}
}
