package eventlog_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-im/postern/events/eventlog"
)

// TestExisting: if a log must exist and does not, none is created, and the
// folder stays unchanged. An existing log is opened and does not count as
// created.
func TestExisting(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "log")
	refused := func(c eventlog.Config) {
		t.Helper()
		if _, err := eventlog.Open(c); !errors.Is(err, eventlog.ErrNoLog) {
			t.Errorf("opened: %v", err)
		}
	}
	there := func(want bool) {
		t.Helper()
		if found, err := eventlog.Exists(dir, nil); err != nil || found != want {
			t.Errorf("a log is there: %v, %v", found, err)
		}
	}
	there(false)
	refused(eventlog.Config{Dir: dir, Existing: true})
	if list, err := os.ReadDir(top); err != nil || len(list) > 0 {
		t.Errorf("the refusal left %v, %v", list, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	there(false)
	refused(eventlog.Config{Dir: dir, Existing: true})
	for _, created := range []bool{true, false} {
		l, err := eventlog.Open(eventlog.Config{Dir: dir, Existing: !created})
		if err != nil || l.Created() != created {
			t.Fatalf("created %v: %v", created, err)
		}
		_, err = eventlog.Open(eventlog.Config{Dir: dir})
		if locked, ok := errors.AsType[*eventlog.LockedError](err); !ok || locked.Holder != os.Getpid() {
			t.Errorf("opened twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		there(true)
	}
	// A folder that holds only the high-water mark, under its present or its former
	// name, has lost its log and gets no new one.
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) != "HIGHWATER" {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused(eventlog.Config{Dir: dir})
	if err := os.Rename(filepath.Join(dir, "HIGHWATER"), filepath.Join(dir, "WITNESS")); err != nil {
		t.Fatal(err)
	}
	refused(eventlog.Config{Dir: dir})
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the refusal left %v, %v", list, err)
	}
}
