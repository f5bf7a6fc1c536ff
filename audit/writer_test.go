package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestWriter: lines are kept whole, through a torn one, a rotation and a
// process that comes after.
func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(path, []byte("{\"a\":1}\n{\"torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	record := func(line string) {
		t.Helper()
		if err := w.Append([]byte(line), true); err != nil {
			t.Fatal(err)
		}
	}
	record("1")
	record("2")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record("3")
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	record("4")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte("5"), false); err == nil {
		t.Error("recorded in a closed file")
	}
	for name, want := range map[string]string{path + ".1": "{\"a\":1}\n{\"torn\n1\n2\n3\n", path: "4\n"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A fullDisk takes a number of bytes, then none.
type fullDisk struct {
	bytes.Buffer
	room   int
	noSync bool
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n, _ := d.Buffer.Write(p[:min(len(p), d.room)])
	if d.room -= n; n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (d *fullDisk) Close() error { return nil }

func (d *fullDisk) Sync() error {
	if d.noSync {
		return errors.New("input/output error")
	}
	return nil
}

// TestFullDisk: a line that was cut off is an error, and the next one stands
// alone; so is a durable one that cannot be synced.
func TestFullDisk(t *testing.T) {
	d := &fullDisk{room: 3}
	w := &Writer{file: d}
	if err := w.Append([]byte("first"), false); err == nil || !w.torn {
		t.Errorf("cut off: %v, torn %v", err, w.torn)
	}
	d.room = 100
	if err := w.Append([]byte("second"), true); err != nil || w.torn || d.String() != "fir\nsecond\n" {
		t.Errorf("%q, %v, torn %v", d.String(), err, w.torn)
	}
	d.noSync = true
	if err := w.Append([]byte("third"), true); err == nil {
		t.Error("not on disk, and no error")
	}
}
