package eventlog_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// TestIngestRefuses: a record that cannot be the next one stops, and nothing of its
// write is in the log.
func TestIngestRefuses(t *testing.T) {
	_, l := cluster(t, 3)
	first := testCommit(4)
	records, err := l.Prepare(3, first, testCommit(5), testCommit(6))
	if err != nil {
		t.Fatal(err)
	}
	// after returns the records of commits that follow the records given.
	after := func(before [][]byte, change func(c *events.Commit)) [][]byte {
		n := 4 + len(before)
		c := testCommit(n)
		c.Position = events.Position(n)
		if len(before) > 0 {
			c.Previous = events.Hash(before[len(before)-1])
		} else {
			_, c.Previous = l.Head()
		}
		change(c)
		return append(slices.Clone(before), events.AppendCommit(nil, c))
	}
	unknown := append(slices.Clone(records[0]), 0x7a, 0) // field 15
	for name, c := range map[string]struct {
		records [][]byte
		at      events.Position
		is      error // nil: any
		words   string
	}{
		"an undecodable record":   {[][]byte{records[0], []byte("x")}, 5, events.ErrMissing, "record: field 1"},
		"an empty record":         {[][]byte{nil}, 4, events.ErrMissing, ""},
		"an unknown field":        {[][]byte{unknown}, 4, events.ErrUnknownField, ""},
		"a gap":                   {[][]byte{records[0], records[2]}, 5, nil, "the record says 6"},
		"a record twice":          {[][]byte{records[0], records[0]}, 5, nil, "the record says 4"},
		"another chain":           {after(nil, func(c *events.Commit) { c.Previous[0] ^= 1 }), 4, nil, "chain"},
		"another chain, later":    {after(records[:2], func(c *events.Commit) { c.Previous = [32]byte{} }), 6, nil, "chain"},
		"a version too many":      {after(records[:1], func(c *events.Commit) { c.TenantVersion++ }), 5, nil, `tenant "acme" is at version 4`},
		"a version of old":        {after(nil, func(c *events.Commit) { c.TenantVersion = 3 }), 4, nil, `at version 3`},
		"a command of the log":    {after(records[:2], func(c *events.Commit) { c.CommandID = "command 2" }), 6, nil, "was carried out at 2"},
		"a command of the record": {after(records[:1], func(c *events.Commit) { c.CommandID = first.CommandID }), 5, nil, "in the append twice"},
		"a record too large":      {[][]byte{make([]byte, events.MaxSize+1)}, 4, events.ErrTooLarge, ""},
	} {
		err := l.Ingest(t.Context(), events.Cursor{Generation: [16]byte{1}, Seq: 9}, c.records)
		bad, ok := errors.AsType[*events.RecordError](err)
		if !ok || bad.Position != c.at || !strings.Contains(err.Error(), c.words) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q at %d", name, err, c.words, c.at)
		}
	}
	// Errors that do not blame the record.
	for name, c := range map[string]struct {
		to      events.Cursor
		records [][]byte
		words   string
	}{
		"records of later":    {events.Cursor{Generation: [16]byte{1}}, records[1:], "expected the head at 4, but it is at 3"},
		"records of before":   {events.Cursor{Generation: [16]byte{1}}, mustRecords(t, l, 2), "expected the head at 1, but it is at 3"},
		"another generation":  {events.Cursor{Generation: [16]byte{2}}, records, "of another generation"},
		"more than one write": {events.Cursor{Generation: [16]byte{1}}, tooMany(t, l), "too large"},
	} {
		err := l.Ingest(t.Context(), c.to, c.records)
		if err == nil || errors.As(err, new(*events.RecordError)) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
	if err := l.Append(t.Context(), 3, testCommit(4)); err == nil || !strings.Contains(err.Error(), "bound to a cluster") {
		t.Errorf("append: %v", err)
	}
	// Nothing was written, and the log is as good as before.
	if c, ok := l.Cursor(); c.Seq != 0 || !ok {
		t.Errorf("the cursor is %v", c)
	}
	if got := mustRead(t, l); len(got) != 3 {
		t.Errorf("%d commits", len(got))
	}
	if err := errors.Join(l.Verify(t.Context()), l.Ingest(t.Context(), events.Cursor{Generation: [16]byte{1}, Seq: 9}, records)); err != nil {
		t.Error(err)
	}
	if err := l.Ingest(t.Context(), events.Cursor{Generation: [16]byte{1}, Seq: 8}, nil); err == nil || !strings.Contains(err.Error(), "go back from 9 to 8") {
		t.Errorf("a cursor of before: %v", err)
	}
	closeLog(t, l)
	if err := l.Ingest(t.Context(), events.Cursor{}, nil); !errors.Is(err, events.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func mustRecords(t *testing.T, l *eventlog.Log, from events.Position) [][]byte {
	t.Helper()
	records, err := l.Records(from, events.MaxSize)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// tooMany returns records of more than 16 MiB that are good otherwise.
func tooMany(t *testing.T, l *eventlog.Log) (records [][]byte) {
	head, previous := l.Head()
	for i := range 18 {
		c := testCommit(int(head) + i + 1)
		c.Position, c.Previous, c.Reason = head+events.Position(i)+1, previous, strings.Repeat("x", events.MaxSize-200)
		records = append(records, events.AppendCommit(nil, c))
		previous = events.Hash(records[i])
	}
	return records
}

// TestPrepare: Prepare refuses what Append refuses, writes nothing, and returns the
// records that Append writes.
func TestPrepare(t *testing.T) {
	_, bound := cluster(t, 3)
	free := open(t, vfs.NewMem(), false)
	appendMore(t, free, 3)
	other := testCommit(5)
	other.CommandID = "command 4"
	gap := testCommit(5)
	large := testCommit(4)
	large.Reason = strings.Repeat("x", events.MaxSize)
	for name, c := range map[string]struct {
		at      events.Position
		commits []*events.Commit
	}{
		"nothing":               {3, nil},
		"one":                   {3, []*events.Commit{testCommit(4)}},
		"two":                   {3, []*events.Commit{testCommit(4), testCommit(5)}},
		"too late":              {2, []*events.Commit{testCommit(3)}},
		"a duplicate":           {3, []*events.Commit{testCommit(2)}},
		"a command twice":       {3, []*events.Commit{testCommit(4), other}},
		"a gap in the versions": {3, []*events.Commit{gap}},
		"a commit too large":    {3, []*events.Commit{large}},
		"an invalid commit":     {3, []*events.Commit{{}}},
		"too many":              {3, make([]*events.Commit, eventlog.MaxCommits+1)},
	} {
		given := make([]events.Commit, len(c.commits))
		for i, commit := range c.commits {
			if commit != nil {
				given[i] = *commit
			}
		}
		var texts [3]string
		var records [2][][]byte
		for i, l := range []*eventlog.Log{bound, free} {
			var err error
			if records[i], err = l.Prepare(c.at, c.commits...); err != nil {
				texts[i] = strings.ReplaceAll(err.Error(), "prepare at", "append at")
			}
			if head, _ := l.Head(); head != 3 {
				t.Fatalf("%s: the head is at %d", name, head)
			}
		}
		for i, commit := range c.commits {
			if commit != nil && !reflect.DeepEqual(*commit, given[i]) {
				t.Errorf("%s: commit %d was changed", name, i)
			}
		}
		again := open(t, vfs.NewMem(), false)
		appendMore(t, again, 3)
		if err := again.Append(t.Context(), c.at, c.commits...); err != nil {
			texts[2] = err.Error()
		}
		if texts[0] != texts[2] || texts[1] != texts[2] {
			t.Errorf("%s: %q", name, texts)
		}
		if texts[2] == "" {
			want := mustRecords(t, again, 4)
			for _, got := range records {
				if !slices.EqualFunc(got, want, bytes.Equal) {
					t.Errorf("%s: other records than Append writes", name)
				}
			}
		}
	}
}

// TestRecords: Records returns as many records as fit, and damage as an error.
func TestRecords(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs, false)
	if records, err := l.Records(1, 1); err != nil || len(records) != 0 {
		t.Errorf("of an empty log: %d, %v", len(records), err)
	}
	appendMore(t, l, 9)
	all := mustRecords(t, l, 1)
	size := len(all[0])
	for _, c := range []struct {
		from  events.Position
		limit int
		want  [][]byte
		is    error
	}{
		{1, events.MaxSize, all, nil},
		{1, size, all[:1], nil},
		{0, 3*size + 1, all[:3], nil},
		{8, events.MaxSize, all[7:], nil},
		{9, size, all[8:], nil},
		{10, size, nil, nil},
		{11, size, nil, events.ErrNoSuchPosition},
		{4, size - 1, nil, events.ErrTooLarge},
	} {
		got, err := l.Records(c.from, c.limit)
		if !errors.Is(err, c.is) || !slices.EqualFunc(got, c.want, bytes.Equal) {
			t.Errorf("from %d, %d bytes: %d records, %v", c.from, c.limit, len(got), err)
		}
	}
}

// TestBind: which logs can be bound to which generations.
func TestBind(t *testing.T) {
	logOf := func(commits int) *eventlog.Log {
		fs := vfs.NewMem()
		l := open(t, fs, false)
		appendMore(t, l, commits)
		closeLog(t, l)
		return open(t, fs, true)
	}
	bound := func(creator bool, commits int) *eventlog.Log {
		l := logOf(commits)
		if err := l.Bind(t.Context(), generationOf(l, 1), creator); err != nil {
			t.Fatal(err)
		}
		return l
	}
	other := func(g *events.Generation) { g.ID[0]++ }
	otherLog := func(g *events.Generation) { g.LogID = strings.Repeat("0", 32) }
	later := func(g *events.Generation) { g.Position, g.Hash = g.Position+2, [32]byte{9} }
	for name, c := range map[string]struct {
		log     *eventlog.Log
		change  func(g *events.Generation)
		creator bool
		words   string // empty: it is bound
	}{
		"the creator":                             {logOf(3), other, true, ""},
		"the creator, empty":                      {logOf(0), other, true, ""},
		"the creator, of another log":             {logOf(3), otherLog, true, "the generation is of log 0000"},
		"the creator, empty, of another log":      {logOf(0), otherLog, true, "the generation is of log 0000"},
		"the creator, at another position":        {logOf(3), later, true, "begins at 5, the log's head is at 3"},
		"the creator, at another hash":            {logOf(3), func(g *events.Generation) { g.Hash[0]++ }, true, "or the commits there differ"},
		"the creator again":                       {bound(true, 3), func(*events.Generation) {}, true, ""},
		"the creator as a member":                 {bound(true, 3), func(*events.Generation) {}, false, ""},
		"the creator over another":                {bound(true, 3), other, true, ""},
		"a member over another":                   {bound(false, 3), other, true, ""},
		"a member as the creator":                 {bound(false, 3), func(*events.Generation) {}, true, `belongs to the cluster "acme"`},
		"the generation with another name":        {bound(true, 3), func(g *events.Generation) { g.Cluster = "b" }, true, `belongs to the cluster "acme"`},
		"a member of another":                     {bound(false, 3), other, false, `belongs to the cluster "acme"`},
		"the creator of another":                  {bound(true, 3), other, false, `belongs to the cluster "acme"`},
		"an empty member":                         {logOf(0), func(g *events.Generation) { otherLog(g); later(g) }, false, ""},
		"a member with the beginning":             {logOf(3), later, false, ""},
		"a member with the whole":                 {logOf(3), other, false, ""},
		"a member with too much":                  {logOf(3), func(g *events.Generation) { g.Position = 2 }, false, "later commits, up to 3"},
		"a member with other commits":             {logOf(3), func(g *events.Generation) { g.Hash[0]++ }, false, "different commits at 3"},
		"a member with commits of another":        {logOf(3), func(g *events.Generation) { otherLog(g); later(g) }, false, "the generation is of log 0000"},
		"a generation that is none":               {logOf(0), func(g *events.Generation) { g.Cluster = "" }, true, "needs a name"},
		"a log that was not opened for a cluster": {open(t, vfs.NewMem(), false), other, true, "not opened for a cluster"},
	} {
		g := generationOf(c.log, 1)
		c.change(&g)
		was, wasCreator, wasBound := c.log.Generation()
		id := c.log.LogID()
		err := c.log.Bind(t.Context(), g, c.creator)
		is, creator, ok := c.log.Generation()
		switch {
		case c.words != "":
			if err == nil || !strings.Contains(err.Error(), c.words) || is != was || creator != wasCreator || ok != wasBound || c.log.LogID() != id {
				t.Errorf("%s: %v, want %q", name, err, c.words)
			}
		case err != nil || is != g || !ok || creator != (c.creator || wasCreator && wasBound) || c.log.LogID() != g.LogID:
			t.Errorf("%s: %v, %v %v %v", name, err, is, creator, ok)
		}
		if _, found := c.log.Cursor(); found {
			t.Errorf("%s: a cursor", name)
		}
		closeLog(t, c.log)
	}
}

// TestUnbind: only the creator's log can be unbound, and only without later commits.
func TestUnbind(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs, true)
	if err := l.Unbind(t.Context()); err == nil || !strings.Contains(err.Error(), "not bound") {
		t.Errorf("a free log: %v", err)
	}
	if err := l.Ingest(t.Context(), events.Cursor{}, nil); err == nil || !strings.Contains(err.Error(), "not bound") {
		t.Errorf("a free log: %v", err)
	}
	g := generationOf(l, 1)
	if err := l.Bind(t.Context(), g, true); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	if _, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs}); !errors.As(err, new(*eventlog.BoundError)) {
		t.Errorf("a stand-alone node opens the log: %v", err)
	}
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if is, creator, ok := l.Generation(); is != g || !creator || !ok {
		t.Errorf("%v %v %v", is, creator, ok)
	}
	if err := l.Unbind(t.Context()); err == nil || !strings.Contains(err.Error(), "for reading only") {
		t.Errorf("read only: %v", err)
	}
	closeLog(t, l)
	l = open(t, fs, true)
	if err := l.Ingest(t.Context(), events.Cursor{Generation: g.ID, Seq: 4}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Unbind(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, found := l.Cursor(); found {
		t.Error("the cursor is left")
	}
	closeLog(t, l)
	l = open(t, fs, false)
	appendMore(t, l, 2)
	closeLog(t, l)

	_, member := cluster(t, 2)
	if err := member.Unbind(t.Context()); err == nil || !strings.Contains(err.Error(), `another node has created the cluster "acme"`) {
		t.Errorf("a member: %v", err)
	}
	creator, _ := cluster(t, 2)
	records, err := creator.Prepare(2, testCommit(3))
	if err == nil {
		err = creator.Ingest(t.Context(), events.Cursor{Generation: [16]byte{1}, Seq: 2}, records)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := creator.Unbind(t.Context()); err == nil || !strings.Contains(err.Error(), "began at 2, and commits up to 3") {
		t.Errorf("after a commit: %v", err)
	}
}

// TestIngestOtherPrefix: a copy that is not the generation's history is refused at
// the generation's position.
func TestIngestOtherPrefix(t *testing.T) {
	from := open(t, vfs.NewMem(), false)
	appendMore(t, from, 4)
	l := open(t, vfs.NewMem(), true)
	g := events.Generation{ID: [16]byte{1}, Cluster: "acme", LogID: from.LogID(), Position: 3, Hash: [32]byte{1}}
	if err := l.Bind(t.Context(), g, false); err != nil {
		t.Fatal(err)
	}
	err := l.Ingest(t.Context(), events.Cursor{Generation: g.ID}, mustRecords(t, from, 1))
	if bad, ok := errors.AsType[*events.RecordError](err); !ok || bad.Position != 3 {
		t.Errorf("%v", err)
	}
	if head, _ := l.Head(); head != 0 {
		t.Errorf("the head is at %d", head)
	}
}

// TestIngestProven: the command ids of a copy are not looked up, because the
// generation's hash proves its records. Later ones are looked up in all of the log.
func TestIngestProven(t *testing.T) {
	_, l := cluster(t, 3)
	copied, later := testCommit(4), testCommit(5)
	copied.CommandID, later.CommandID = "command 2", "command 4"
	for _, c := range []struct {
		commits []*events.Commit
		at      events.Position // 0: they are ingested
	}{
		{[]*events.Commit{copied}, 4},
		{[]*events.Commit{testCommit(4), later}, 5},
		{[]*events.Commit{testCommit(4)}, 0},
		{[]*events.Commit{later}, 5},
	} {
		var records [][]byte
		head, previous := l.Head()
		for _, commit := range c.commits {
			head++
			commit.Position, commit.Previous = head, previous
			records = append(records, events.AppendCommit(nil, commit))
			previous = events.Hash(records[len(records)-1])
		}
		err := l.Ingest(t.Context(), events.Cursor{Generation: [16]byte{1}, Seq: 2}, records)
		bad, _ := errors.AsType[*events.RecordError](err)
		if c.at == 0 && err != nil || c.at != 0 && (bad == nil || bad.Position != c.at || !errors.As(err, new(*events.DuplicateCommandError))) {
			t.Errorf("%v, want a refusal at %d", err, c.at)
		}
	}
}

// TestBackupOfBound: a backup of a bound log can be verified. Its restore is another
// log, which is not bound.
func TestBackupOfBound(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, fs, false)
	appendMore(t, l, 3)
	closeLog(t, l)
	l = open(t, fs, true)
	g := generationOf(l, 1)
	if err := l.Bind(t.Context(), g, true); err != nil {
		t.Fatal(err)
	}
	records, err := l.Prepare(3, testCommit(4))
	if err == nil {
		err = l.Ingest(t.Context(), events.Cursor{Generation: g.ID, Seq: 7}, records)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSnapshotAt(l, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Backup(t.Context(), backupDir, ignore); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)

	c, b, err := eventlog.OpenBackup(eventlog.Config{Dir: backupDir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	cursor, _ := c.Cursor()
	if is, _, ok := c.Generation(); !ok || is != g || cursor.Seq != 7 || b.Position != 4 || b.LogID != g.LogID {
		t.Errorf("the backup: %v %v, %v, %+v", is, ok, cursor, b)
	}
	if err := c.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	closeLog(t, c)

	if _, _, err := eventlog.Restore(t.Context(), backupDir, eventlog.Config{Dir: "restored", FS: fs}, ignore); err != nil {
		t.Fatal(err)
	}
	r, err := eventlog.Open(eventlog.Config{Dir: "restored", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := r.Generation(); ok || r.LogID() == g.LogID || len(r.Origins()) != 1 {
		t.Errorf("the restored log is bound, or still log %s", r.LogID())
	}
	appendMore(t, r, 1)
	if err := r.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	closeLog(t, r)

	// The snapshot is still good in the bound log.
	l = open(t, fs, true)
	if at, err := readSnapshot(l, 1<<60); at != 4 || err != nil {
		t.Errorf("the snapshot: %d, %v", at, err)
	}
	closeLog(t, l)
}

// A copyingDisk calls copying before the first file of a backup is made. Once armed, it
// closes written after the next write to the log's write-ahead log.
type copyingDisk struct {
	vfs.FS
	copying func()
	once    sync.Once
	armed   atomic.Bool
	written chan struct{}
}

type writeAheadLog struct {
	vfs.File
	disk *copyingDisk
}

func (d *copyingDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(name, backupDir) {
		d.once.Do(d.copying)
	}
	f, err := d.FS.Create(name, c)
	if err == nil && strings.HasPrefix(name, "log/") && strings.HasSuffix(name, ".log") {
		f = writeAheadLog{f, d}
	}
	return f, err
}

func (f writeAheadLog) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if f.disk.armed.CompareAndSwap(true, false) {
		close(f.disk.written)
	}
	return n, err
}

// TestBackupAfterTake: a record is taken while the files of the log are copied, and no
// other call waits for its sync. The backup has the record, so it must be durable in the
// log too.
func TestBackupAfterTake(t *testing.T) {
	t.Parallel()
	creator, other := cluster(t, 3)
	closeLog(t, other)
	g, _, _ := creator.Generation()
	disk := &copyingDisk{FS: vfs.NewMem(), written: make(chan struct{})}
	l := open(t, disk, true)
	if err := l.Bind(t.Context(), g, false); err != nil {
		t.Fatal(err)
	}
	copyTo(t, creator, l)
	records, err := l.Prepare(3, testCommit(4))
	if err != nil {
		t.Fatal(err)
	}
	disk.copying = func() {
		disk.armed.Store(true)
		if err := l.Take(t.Context(), events.Cursor{Generation: g.ID, Seq: 7}, records); err != nil {
			t.Error(err)
		}
		<-disk.written
	}
	b, err := l.Backup(t.Context(), backupDir, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if durable, _ := l.Durable(); b.Position != 4 || durable != 4 {
		t.Errorf("the backup ends at %d, want 4; the log is durable up to %d", b.Position, durable)
	}
	closeLog(t, l)
	closeLog(t, creator)
}

// TestRenew: a log under a new id has the same commits, and refuses what the old
// cluster ordered. The same disk serves before and after.
func TestRenew(t *testing.T) {
	creator, member := cluster(t, 3)
	if err := creator.WriteSnapshot(t.Context(), 3, func(w io.Writer) error { _, err := w.Write([]byte("x")); return err }); err != nil {
		t.Fatal(err)
	}
	records, err := creator.Prepare(3, testCommit(4))
	if err != nil {
		t.Fatal(err)
	}
	old := generationOf(creator, 1)
	for _, l := range []*eventlog.Log{creator, member} {
		wrong := generationOf(l, 2)
		wrong.Position--
		if _, _, err := l.Renew(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "begins at 2, the log's head is at 3") {
			t.Errorf("at another position: %v", err)
		}
		wrong = generationOf(l, 2)
		wrong.Hash[0]++
		if _, _, err := l.Renew(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "commits there differ") {
			t.Errorf("at another hash: %v", err)
		}
		if is, _, _ := l.Generation(); is != old || l.LogID() != old.LogID || len(l.Origins()) > 0 {
			t.Errorf("a refused renewal has changed the log: %v %v %v", is, l.LogID(), l.Origins())
		}
		g, o, err := l.Renew(t.Context(), generationOf(l, 2))
		if err != nil {
			t.Fatal(err)
		}
		is, isCreator, ok := l.Generation()
		if is != g || !isCreator || !ok || g.LogID == old.LogID || g.LogID != l.LogID() {
			t.Errorf("%v %v %v, the log is %s", is, isCreator, ok, l.LogID())
		}
		if o.LogID != old.LogID || o.Position != 3 || o.Hash != old.Hash || !slices.Equal(l.Origins(), []eventlog.Origin{o}) {
			t.Errorf("%v, origins %v", o, l.Origins())
		}
		if _, found := l.Cursor(); found {
			t.Error("the old generation's cursor is left")
		}
		if list, err := l.Snapshots(); err != nil || len(list) > 0 {
			t.Errorf("snapshots under the old id: %v, %v", list, err)
		}
		if err := l.Ingest(t.Context(), events.Cursor{Generation: old.ID, Seq: 9}, records); err == nil {
			t.Error("the log takes what its old cluster has ordered")
		}
		if err := errors.Join(l.Verify(t.Context()), l.Ingest(t.Context(), events.Cursor{Generation: g.ID, Seq: 1}, records), l.Verify(t.Context())); err != nil {
			t.Error(err)
		}
	}
	if creator.LogID() == member.LogID() {
		t.Error("two renewals have one id")
	}
	free := open(t, vfs.NewMem(), false)
	if _, _, err := free.Renew(t.Context(), generationOf(free, 1)); err == nil || !strings.Contains(err.Error(), "not opened for a cluster") {
		t.Errorf("a log of no cluster: %v", err)
	}
}

// TestPowerCutsWhileRenewing: after a power cut the log has the old id and generation
// or the new ones, with all its commits, and its high-water mark protects it again.
func TestPowerCutsWhileRenewing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(10, 1))
	cases := map[bool]int{}
	for range soak(4, 40) {
		d := newDisk(vfs.NewCrashableMem())
		l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: d, Clustered: true})
		if err != nil {
			t.Fatal(err)
		}
		appendMore(t, l, 3)
		old := generationOf(l, 1)
		if err := l.Bind(t.Context(), old, true); err != nil {
			t.Fatal(err)
		}
		left := cuts(d, rng, 1)
		g, o, err := l.Renew(t.Context(), generationOf(l, 2))
		if err != nil {
			t.Fatal(err)
		}
		disks := left()
		for i, fs := range append(disks, d.afterCrash(0, 1)) {
			after := i == len(disks)
			for range 2 { // opening it does no harm either
				l, err := eventlog.Open(eventlog.Config{Dir: "var/log", FS: fs, Clustered: true})
				if err != nil {
					t.Fatal(err)
				}
				is, creator, ok := l.Generation()
				head, _ := l.Head()
				renewed := l.LogID() == g.LogID
				cases[renewed]++
				if err := l.Verify(t.Context()); err != nil || head != 3 || !ok || !creator || after && !renewed {
					t.Errorf("%v: the head is %d, bound %v, creator %v, renewed %v", err, head, ok, creator, renewed)
				}
				want, origins := old, 0
				if renewed {
					want, origins = g, 1
				}
				if is != want || l.LogID() != is.LogID || len(l.Origins()) != origins || renewed && l.Origins()[0] != o {
					t.Errorf("log %s, generation %v, origins %v", l.LogID(), is, l.Origins())
				}
				closeLog(t, l)
			}
		}
		closeLog(t, l)
	}
	if cases[false] == 0 || cases[true] == 0 {
		t.Errorf("not both sides were seen: %v", cases)
	}
}
