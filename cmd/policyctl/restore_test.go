package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node/datafolder"
	"github.com/postern-im/postern/projections"
)

// nodeData creates a policy node's data folder, which has a log of n commits and
// a snapshot in the middle, and a backup of the log. It returns both folders.
func nodeData(t *testing.T, n int) (data, backup string) {
	t.Helper()
	data, backup = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	l, err := eventlog.Open(eventlog.Config{Dir: datafolder.Log(data)})
	if err != nil {
		t.Fatal(err)
	}
	v := projections.New()
	for i := range n {
		c := &events.Commit{
			Tenant: "acme", TenantVersion: uint64(i + 1), Time: time.Date(2026, 11, 24, 9, 0, i, 0, time.UTC),
			Actor: "operator:root", CommandID: fmt.Sprint("command ", i),
			Events: []events.Event{events.RoleDefined{Name: fmt.Sprint("lab:r", i)}},
		}
		if i == 0 {
			c.Events = []events.Event{events.TenantCreated{Name: "Acme"}}
		}
		if err := l.Append(t.Context(), events.Position(i), c); err != nil {
			t.Fatal(err)
		}
		if v, err = v.Apply(c); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			if err := l.WriteSnapshot(t.Context(), c.Position, v.Encode); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := l.Backup(t.Context(), backup, func(string, uint64, uint64) {}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return data, backup
}

// TestRestore verifies a log and its backup, restores the backup, and verifies the
// restored log.
func TestRestore(t *testing.T) {
	data, backup := nodeData(t, 20)
	var of, copied, again verified
	for into, args := range map[*verified][]string{&of: {"--data", data}, &copied: {"--backup", backup}} {
		code, out, errOut := policyctl("", append([]string{"--json", "verify"}, args...)...)
		if err := json.Unmarshal([]byte(out), into); code != exitDone || err != nil {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, errOut)
		}
	}
	if of.Position != 20 || len(of.Snapshots) != 1 || copied.LogID != of.LogID || copied.Position != 20 || copied.Backup == nil {
		t.Errorf("%+v, %+v", of, copied)
	}
	to := filepath.Join(t.TempDir(), "new", "data")
	if err := os.MkdirAll(datafolder.Keys(to), 0o700); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := policyctl("", "--json", "restore", "--yes", "--from", backup, "--data", to)
	var made restored
	if err := json.Unmarshal([]byte(out), &made); code != exitDone || err != nil {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	if made.LogID == of.LogID || made.Position != 20 || made.Origin.LogID != of.LogID {
		t.Errorf("%+v", made)
	}
	code, out, _ = policyctl("", "--json", "verify", "--data", to)
	if err := json.Unmarshal([]byte(out), &again); code != exitDone || err != nil || len(again.Origins) != 1 || again.LogID != made.LogID || len(again.Snapshots) != 0 {
		t.Errorf("exit %d, %v: %+v", code, err, again)
	}
	if code, out, _ := policyctl("", "verify", "--data", to); code != exitDone || !strings.Contains(out, "All is good: 20 commits") || !strings.Contains(out, of.LogID) {
		t.Errorf("exit %d: %s", code, out)
	}
	// An existing log is not overwritten.
	code, _, errOut = policyctl("", "restore", "--yes", "--from", backup, "--data", to)
	if code != exitError || !strings.Contains(errOut, "is not empty: it has log in it") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

// TestVerifyFinds: verify reports damage by text and by code, and a damaged backup
// is not restored.
func TestVerifyFinds(t *testing.T) {
	change := func(t *testing.T, dir string, change func(db *pebble.DB) error) {
		t.Helper()
		db, err := pebble.Open(dir, &pebble.Options{Logger: silent{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(change(db), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	record := func(db *pebble.DB) error {
		return db.Set(binary.BigEndian.AppendUint64([]byte("e|"), 7), []byte("x"), pebble.Sync)
	}
	data, backup := nodeData(t, 20)
	change(t, datafolder.Log(data), record)
	change(t, filepath.Join(backup, "log"), record)
	for _, args := range [][]string{{"verify", "--data", data}, {"verify", "--backup", backup}} {
		code, out, errOut := policyctl("", append([]string{"--json"}, args...)...)
		if code != exitError || out != "" || !strings.Contains(errOut, `"code":"log"`) || !strings.Contains(errOut, "corrupt at 7") {
			t.Errorf("%v: exit %d: %s%s", args, code, out, errOut)
		}
	}
	to := filepath.Join(t.TempDir(), "data")
	if code, _, errOut := policyctl("", "restore", "--yes", "--from", backup, "--data", to); code != exitError || !strings.Contains(errOut, "corrupt at 7") {
		t.Errorf("exit %d: %s", code, errOut)
	}
	if list, err := os.ReadDir(to); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}

	// The first snapshot can be read, but its state is not the state of its
	// commits. The second one cannot be read.
	data, _ = nodeData(t, 20)
	l, err := eventlog.Open(eventlog.Config{Dir: datafolder.Log(data)})
	if err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func(io.Writer) error{
		"damaged, or differs": projections.New().Encode,
		"the snapshot at 11":  func(w io.Writer) error { _, err := w.Write([]byte("x")); return err },
	} {
		if err := errors.Join(l.WriteSnapshot(t.Context(), 11, write), l.Close()); err != nil {
			t.Fatal(err)
		}
		if code, _, errOut := policyctl("", "verify", "--data", data); code != exitError || !strings.Contains(errOut, what) {
			t.Errorf("exit %d: %s", code, errOut)
		}
		if l, err = eventlog.Open(eventlog.Config{Dir: datafolder.Log(data)}); err != nil {
			t.Fatal(err)
		}
	}
	// The log is open, as in a running node, and so cannot be opened a second
	// time. Pebble's message is another one here, because this process itself
	// holds the lock.
	if code, _, errOut := policyctl("", "verify", "--data", data); code != exitError || !strings.Contains(errOut, "lock held") {
		t.Errorf("exit %d: %s", code, errOut)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--data", t.TempDir()}, {"verify", "--backup", t.TempDir()}, {"restore", "--yes", "--from", t.TempDir(), "--data", to}} {
		if code, _, errOut := policyctl("", args...); code != exitError || strings.Contains(errOut, "No policyd listens") {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
	for _, args := range [][]string{{"backup"}, {"verify", "--data", "a", "--backup", "b"}, {"restore", "--from", "a"}, {"restore", "--from", "a", "--data", "b"}} {
		if code, _, errOut := policyctl("", args...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
}

type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
