package eventlog_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// open opens the log in the folder log of a file system.
func open(t *testing.T, fs vfs.FS, clustered bool) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs, Clustered: clustered})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t *testing.T, l *eventlog.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// generationOf returns a generation at the head of a log.
func generationOf(l *eventlog.Log, id byte) events.Generation {
	head, hash := l.Head()
	return events.Generation{ID: [16]byte{id}, Cluster: "acme", LogID: l.LogID(), Position: head, Hash: hash}
}

// cluster returns the logs of a creator, which has commits, and of a node that has
// joined and has copied them.
func cluster(t *testing.T, commits int) (creator, member *eventlog.Log) {
	t.Helper()
	fs := vfs.NewMem()
	l := open(t, fs, false)
	appendMore(t, l, commits)
	closeLog(t, l)
	creator, member = open(t, fs, true), open(t, vfs.NewMem(), true)
	g := generationOf(creator, 1)
	if err := errors.Join(creator.Bind(t.Context(), g, true), member.Bind(t.Context(), g, false)); err != nil {
		t.Fatal(err)
	}
	if member.LogID() != creator.LogID() {
		t.Fatalf("the member's log is %s, not %s", member.LogID(), creator.LogID())
	}
	copyTo(t, creator, member)
	return creator, member
}

// copyTo copies the records that a log has more than another.
func copyTo(t *testing.T, from, to *eventlog.Log) {
	t.Helper()
	g, _, _ := to.Generation()
	for {
		head, _ := to.Head()
		records, err := from.Records(head+1, events.MaxSize)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return
		}
		if err := to.Ingest(t.Context(), events.Cursor{Generation: g.ID}, records); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIngest: what one node prepares, every node ingests, and their logs are equal.
func TestIngest(t *testing.T) {
	creator, member := cluster(t, 5)
	for i := range 3 {
		head, _ := member.Head()
		records, err := member.Prepare(head, testCommit(int(head)+1), testCommit(int(head)+2))
		if err != nil {
			t.Fatal(err)
		}
		to := events.Cursor{Generation: [16]byte{1}, Seq: uint64(i + 2)}
		for _, l := range []*eventlog.Log{creator, member} {
			if err := l.Ingest(t.Context(), to, records); err != nil {
				t.Fatal(err)
			}
			if c, ok := l.Cursor(); !ok || c != to {
				t.Errorf("the cursor is %v, %v", c, ok)
			}
		}
	}
	a, err := creator.Records(1, events.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	b, err := member.Records(0, events.MaxSize)
	if err != nil || len(a) != 11 || !bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) {
		t.Errorf("%d and %d records, %v", len(a), len(b), err)
	}
	for _, l := range []*eventlog.Log{creator, member} {
		if err := errors.Join(l.Verify(t.Context()), l.Close()); err != nil {
			t.Error(err)
		}
	}
}
