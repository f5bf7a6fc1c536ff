package datafolder_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node/datafolder"
	"github.com/postern-im/postern/projections"
)

const (
	commits    = 8
	snapshotAt = 5
)

// filled creates a data folder whose log has some commits and a snapshot.
func filled(t *testing.T) datafolder.Config {
	t.Helper()
	c := datafolder.Config{Dir: filepath.Join(t.TempDir(), "data")}
	change(t, c, func(l *eventlog.Log) error {
		v := projections.New()
		for i := range commits {
			commit := &events.Commit{
				Tenant: "acme", TenantVersion: uint64(i + 1), Time: time.Unix(int64(i+1), 0), Actor: "operator:root", CommandID: fmt.Sprint(i),
				Events: []events.Event{events.RoleDefined{Name: fmt.Sprint("lab:r", i)}},
			}
			if i == 0 {
				commit.Events = []events.Event{events.TenantCreated{Name: "Acme"}}
			}
			if err := l.Append(t.Context(), events.Position(i), commit); err != nil {
				return err
			}
			var err error
			if v, err = v.Apply(commit); err != nil {
				return err
			}
			if commit.Position == snapshotAt {
				if err := l.WriteSnapshot(t.Context(), snapshotAt, v.Encode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return c
}

// change opens the log for writing.
func change(t *testing.T, c datafolder.Config, do func(*eventlog.Log) error) {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: datafolder.Log(c.Dir)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(l), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// verify verifies the log of a data folder, and checks that Verify has called at with
// every position.
func verify(t *testing.T, c datafolder.Config) ([]events.Position, error) {
	t.Helper()
	l, err := datafolder.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var read []events.Position
	snapshots, err := datafolder.Verify(t.Context(), l, func(p events.Position) { read = append(read, p) })
	if want := []events.Position{1, 2, 3, 4, 5, 6, 7, 8}; err == nil && !slices.Equal(read, want) {
		t.Errorf("read %v, want %v", read, want)
	}
	return snapshots, err
}

// TestVerify: a snapshot is valid only if it holds the View that its commits give.
func TestVerify(t *testing.T) {
	c := filled(t)
	if snapshots, err := verify(t, c); err != nil || !slices.Equal(snapshots, []events.Position{snapshotAt}) {
		t.Errorf("%v, %v", snapshots, err)
	}
	for text, write := range map[string]func(io.Writer) error{
		"the snapshot at 5 is damaged, or differs from the state": projections.New().Encode,
		"the snapshot at 5: ": func(w io.Writer) error { _, err := w.Write([]byte("x")); return err },
	} {
		change(t, c, func(l *eventlog.Log) error { return l.WriteSnapshot(t.Context(), snapshotAt, write) })
		if _, err := verify(t, c); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

// TestVerifyBadCommit: Verify names a commit that cannot be applied, even if its
// record is undamaged.
func TestVerifyBadCommit(t *testing.T) {
	c := filled(t)
	change(t, c, func(l *eventlog.Log) error {
		return l.Append(t.Context(), commits, &events.Commit{
			Tenant: "acme", TenantVersion: commits + 1, Time: time.Unix(commits, 0), Actor: "operator:root", CommandID: "again",
			Events: []events.Event{events.TenantCreated{Name: "Twice"}},
		})
	})
	_, err := verify(t, c)
	if corrupt, ok := errors.AsType[*events.CorruptError](err); !ok || corrupt.Position != commits+1 {
		t.Errorf("got %v, want a corrupt commit at %d", err, commits+1)
	}
}

func TestOpenNothing(t *testing.T) {
	c := datafolder.Config{Dir: t.TempDir()}
	if _, err := datafolder.Open(c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an error that there is no log", err)
	}
	if list, err := os.ReadDir(c.Dir); err != nil || len(list) > 0 {
		t.Errorf("Open has created %v, %v", list, err)
	}
}

// TestRestore: a backup can be restored into a folder that no node has used, and into
// no other folder.
func TestRestore(t *testing.T) {
	backup := filepath.Join(t.TempDir(), "backup")
	var id string
	change(t, filled(t), func(l *eventlog.Log) error {
		id = l.LogID()
		_, err := l.Backup(t.Context(), backup, func(string, uint64, uint64) {})
		return err
	})
	for there, want := range map[string]string{ // files in the folder, separated by spaces
		"":                  "",
		"nats/gateway.nkey": "",
		"log.restoring/x":   "",
		"log/x":             "it has log in it",
		"decisions.jsonl":   "it has decisions.jsonl in it",
		"a b c d e f g":     "it has a, b, c, d, e, 2 more in it",
	} {
		c := datafolder.Config{Dir: filepath.Join(t.TempDir(), "data")}
		for name := range strings.FieldsSeq(there) {
			touch(t, filepath.Join(c.Dir, name))
		}
		r, err := datafolder.Restore(t.Context(), backup, c, func(string, uint64, uint64) {})
		switch {
		case want != "":
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want %q", there, err, want)
			}
			continue
		case err != nil || r.LogID == id || r.Origin.LogID != id || r.Origin.Position != commits:
			t.Errorf("%q: %+v, %v", there, r, err)
			continue
		}
		if snapshots, err := verify(t, c); err != nil || len(snapshots) > 0 {
			t.Errorf("%q: %v, %v", there, snapshots, err)
		}
	}
	c := datafolder.Config{Dir: filepath.Join(t.TempDir(), "data")}
	if _, err := datafolder.Restore(t.Context(), filepath.Join(backup, "log"), c, nil); err == nil {
		t.Error("a folder that is not a backup was restored")
	}
	if _, err := os.Stat(datafolder.Log(c.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a log after a failed restore: %v", err)
	}
}

func touch(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
}
