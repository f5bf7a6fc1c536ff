package eventlog

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// TestTamperedBinding: a log whose binding is damaged, or is not the binding of this
// log, is refused or found by Verify.
func TestTamperedBinding(t *testing.T) {
	const n = 3
	other := func(change func(g *events.Generation)) func(*testing.T, *pebble.DB) error {
		return func(t *testing.T, db *pebble.DB) error {
			g, err := events.DecodeGeneration(value(t, db, keyCluster))
			if err != nil {
				return err
			}
			change(&g)
			return db.Set([]byte(keyCluster), events.AppendGeneration(nil, &g), pebble.Sync)
		}
	}
	set := func(key string, v []byte) func(*testing.T, *pebble.DB) error {
		return func(_ *testing.T, db *pebble.DB) error { return db.Set([]byte(key), v, pebble.Sync) }
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *pebble.DB) error
		at     events.Position // 0: the error has no position
		words  string
	}{
		"no change":               {set("z", nil), 0, ""},
		"no generation":           {func(_ *testing.T, db *pebble.DB) error { return db.Delete([]byte(keyCluster), pebble.Sync) }, 0, "does not agree"},
		"half a generation":       {set(keyCluster, []byte{events.GenerationKind, 1, 2}), 0, "generation cannot be read"},
		"the format of no member": {set(keyFormat, []byte(formatVersion)), 0, "does not agree"},
		"of another log":          {other(func(g *events.Generation) { g.LogID = strings.Repeat("0", 32) }), 0, "is of log 0000"},
		"of another history":      {other(func(g *events.Generation) { g.Hash[0]++ }), n, "chain"},
		"half a cursor":           {set(keyCursor, []byte("x")), 0, "cursor cannot be read"},
		"another cursor":          {set(keyCursor, encodeCursor(events.Cursor{Generation: [16]byte{9}, Seq: 1})), 0, "cursor cannot be read"},
		"a cursor of another one": {other(func(g *events.Generation) { g.ID[0]++ }), 0, "cursor cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			fill(t, fs, n)
			config := Config{Dir: testDir, FS: fs, Clustered: true}
			l, err := Open(config)
			if err != nil {
				t.Fatal(err)
			}
			head, hash := l.Head()
			g := events.Generation{ID: [16]byte{1}, Cluster: "acme", LogID: l.LogID(), Position: head, Hash: hash}
			err = errors.Join(l.Bind(t.Context(), g, true), l.Ingest(t.Context(), events.Cursor{Generation: g.ID, Seq: 2}, nil), l.Close())
			if err != nil {
				t.Fatal(err)
			}
			tamper(t, fs, func(db *pebble.DB) error { return c.change(t, db) })
			l, err = Open(config)
			if err == nil {
				err = errors.Join(l.Verify(t.Context()), l.Close())
			}
			corrupt, _ := errors.AsType[*events.CorruptError](err)
			switch {
			case c.words == "" && err != nil,
				c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)),
				c.at != 0 && (corrupt == nil || corrupt.Position != c.at):
				t.Errorf("%v, want %q at %d", err, c.words, c.at)
			}
		})
	}
}
