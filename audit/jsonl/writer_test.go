package jsonl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestWriter: each record is a complete line after an incomplete line, a rotation
// and a restart.
func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(path, []byte("{\"a\":1}\n{\"torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(Config{Path: path})
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

// A faulty file has the faults that a test sets: its writes fail, after a part or all
// of the bytes, or Sync fails.
type faulty struct {
	diskFile
	most  int    // the bytes that a failing write still writes; negative: all
	err   error  // the error of each write; nil: writes do not fail
	sync  error  // the error of Sync
	room  uint64 // the result of free
	looks int    // number of calls of free
}

func (f *faulty) Write(p []byte) (int, error) {
	if f.err == nil {
		return f.diskFile.Write(p)
	}
	if f.most >= 0 {
		p = p[:min(len(p), f.most)]
	}
	n, err := f.diskFile.Write(p)
	return n, cmp.Or(err, f.err)
}

func (f *faulty) Sync() error { return cmp.Or(f.sync, f.diskFile.Sync()) }

func (f *faulty) free() (uint64, error) {
	f.looks++
	return f.room, nil
}

// openFaulty returns a Writer and its faulty file, which has no fault yet.
func openFaulty(t *testing.T, c Config) (*Writer, *faulty) {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{diskFile: w.file.(diskFile)}
	w.file = f
	t.Cleanup(func() { _ = w.Close() })
	return w, f
}

// verdict returns a record with the number n as its question.
func verdict(n uint64) []Record {
	return []Record{{Kind: Verdict, Time: time.Unix(int64(n), 0), Question: n, Node: "n1", Gateway: "gw1"}}
}

// TestFaults: a write can fail after it has written nothing, a part, or everything. The Writer then returns an error. Each record written before and
// after, in this process and in the next, is a complete line.
func TestFaults(t *testing.T) {
	full := errors.New("no space left on device")
	for name, most := range map[string]int{"failed": 0, "cut off": 17, "all but the end": 100, "written, but failed": -1} {
		for _, again := range []string{"same process", "next process", "rotated"} {
			t.Run(name+"/"+again, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "records.jsonl")
				w, f := openFaulty(t, Config{Path: path})
				written := map[uint64]bool{}
				record := func(n uint64) {
					t.Helper()
					if err := w.Record(verdict(n)); err != nil {
						t.Fatalf("record %d: %v", n, err)
					}
					written[n] = true
				}
				record(1)
				for n := range uint64(3) {
					f.most, f.err = most, full
					if err := w.Record(verdict(10 + n)); !errors.Is(err, full) {
						t.Fatalf("record %d: %v", 10+n, err)
					}
				}
				f.err = nil
				switch again {
				case "next process":
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					w, _ = openFaulty(t, Config{Path: path})
				case "rotated":
					if err := errors.Join(os.Rename(path, path+".1"), w.Reopen()); err != nil {
						t.Fatal(err)
					}
				}
				record(20)
				record(21)
				for n := range recordsOf(t, path+".1", path) {
					delete(written, n)
				}
				if len(written) > 0 {
					t.Errorf("records without a complete line: %v", written)
				}
			})
		}
	}
}

// TestNoBlankLines: writes that the full disk refuses whole leave nothing in the
// file. A write whose effect is unknown is followed by a newline, which may end an
// empty line.
func TestNoBlankLines(t *testing.T) {
	for name, tt := range map[string]struct {
		most int
		err  error
		want int // empty lines
	}{
		"nothing written":    {0, &fs.PathError{Op: "write", Err: syscall.ENOSPC}, 0},
		"over the quota":     {0, syscall.EDQUOT, 0},
		"all written":        {-1, syscall.ENOSPC, 1},
		"unknown, so assume": {0, syscall.EIO, 1},
	} {
		path := filepath.Join(t.TempDir(), "records.jsonl")
		w, f := openFaulty(t, Config{Path: path})
		first := w.Record(verdict(1))
		f.most, f.err = tt.most, tt.err
		failed := w.Record(verdict(2))
		f.err = nil
		if err := w.Record(verdict(3)); first != nil || failed == nil || err != nil {
			t.Errorf("%s: %v, %v, %v", name, first, failed, err)
		}
		text := read(t, path)
		if n := bytes.Count(text, []byte("\n\n")); n != tt.want {
			t.Errorf("%s: %d empty lines:\n%s", name, n, text)
		}
	}
}

// recordsOf returns the numbers of the verdicts that have a complete line in the
// files. It ignores incomplete lines.
func recordsOf(t *testing.T, paths ...string) map[uint64]bool {
	t.Helper()
	found := map[uint64]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var r struct{ Question *uint64 }
			if json.Unmarshal(line, &r) == nil && r.Question != nil {
				found[*r.Question] = true
			}
		}
	}
	return found
}

// TestDurable: Append with durable returns an error if the line cannot be synced.
func TestDurable(t *testing.T) {
	w, f := openFaulty(t, Config{Path: filepath.Join(t.TempDir(), "records.jsonl")})
	f.sync = errors.New("input/output error")
	if err := w.Append([]byte("1"), true); !errors.Is(err, f.sync) {
		t.Errorf("a line that is not on disk: %v", err)
	}
	if err := w.Append([]byte("2"), false); err != nil {
		t.Errorf("a line that need not be on disk: %v", err)
	}
}

// TestReserve: the Writer does not write into the reserve. It checks the free space
// after each second, after each megabyte, and after each failure.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	w, f := openFaulty(t, Config{Path: path, Reserve: 100})
	at := func(d time.Duration, n int) error {
		records := make([]Record, n)
		for i := range records {
			records[i] = Record{Kind: Opening, Time: time.Unix(1000, 0).Add(d)}
		}
		return w.Record(records)
	}
	for i, tt := range []struct {
		after   time.Duration
		records int
		room    uint64
		looks   int
		refused bool
	}{
		{0, 1, 99, 1, true},
		{0, 1, 100, 2, false},
		{lookEach - 1, 1, 0, 2, false},
		{lookEach, 1, 0, 3, true},
		{lookEach, 1, 0, 4, true},
		{lookEach, 20_000, 100, 5, false}, // more than a megabyte
		{lookEach, 1, 0, 6, true},
		{lookEach, 1, 100, 7, false},
		{0, 1, 0, 8, true}, // the clock was set back
	} {
		f.room = tt.room
		size := len(read(t, path))
		err := at(tt.after, tt.records)
		if (err != nil) != tt.refused || f.looks != tt.looks || tt.refused && len(read(t, path)) != size {
			t.Errorf("%d: %v after %d looks", i, err, f.looks)
		}
	}
	f.room = 100
	if err := at(0, 1); err != nil {
		t.Fatal(err)
	}
	looks := f.looks
	f.err = errors.New("no space left on device")
	if err := at(0, 1); !errors.Is(err, f.err) || f.looks != looks {
		t.Errorf("a write that fails: %v after %d more checks", err, f.looks-looks)
	}
	f.err = nil
	if err := at(0, 1); err != nil || f.looks != looks+1 {
		t.Errorf("a write after a failure: %v after %d more checks", err, f.looks-looks)
	}
	f.room, looks = 99, f.looks
	if err := w.Ready(); err == nil || f.looks != looks+1 {
		t.Errorf("ready without room: %v after %d more checks", err, f.looks-looks)
	}
	w, f = openFaulty(t, Config{Path: path})
	if err := errors.Join(w.Ready(), at(0, 1)); err != nil || f.looks > 0 {
		t.Errorf("without a reserve: %v after %d looks", err, f.looks)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
