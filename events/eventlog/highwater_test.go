package eventlog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

var (
	presentFile = path.Join(testDir, highWaterName)
	formerFile  = path.Join(testDir, formerName)
)

// cloned returns a copy of a log's folder on a disk that can lose its power.
func cloned(t *testing.T, from vfs.FS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewCrashableMem()
	if _, err := vfs.Clone(from, to, testDir, testDir, vfs.CloneSync); err != nil {
		t.Fatal(err)
	}
	return to
}

func renamed(t *testing.T, fs vfs.FS, from, to string) {
	t.Helper()
	if err := errors.Join(fs.Rename(from, to), syncFolder(fs, testDir)); err != nil {
		t.Fatal(err)
	}
}

func removed(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	if err := errors.Join(fs.Remove(name), syncFolder(fs, testDir)); err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, fs vfs.FS, name string) bool {
	t.Helper()
	_, err := fs.Stat(name)
	return err == nil
}

// formerLogs returns a log of 30 commits whose high-water file has the former
// name, and the same log with its first 20 commits, without the file.
func formerLogs(t *testing.T) (whole, short *vfs.MemFS) {
	t.Helper()
	mem := vfs.NewMem()
	want := fill(t, mem, 20)
	short = cloned(t, mem)
	removed(t, short, presentFile)
	addUnflushed(t, mem, want, 10)
	whole = cloned(t, mem)
	renamed(t, whole, presentFile, formerFile)
	return whole, short
}

// markAt returns the high-water file of a log at one of its positions.
func markAt(t *testing.T, log *vfs.MemFS, position events.Position) []byte {
	t.Helper()
	fs := cloned(t, log)
	l := reopened(t, fs)
	c, err := l.Commit(position)
	if err != nil {
		t.Fatal(err)
	}
	h := head{position, events.Hash(events.AppendCommit(nil, &c))}
	if err := errors.Join(l.highWater.write(l.logID, h), l.highWater.write(l.logID, h), l.Close()); err != nil {
		t.Fatal(err)
	}
	return fileData(t, fs, presentFile)
}

// restoredLogs returns a log of 30 commits that an earlier version restored
// from a backup of 20: it holds the backup's file under the present name, and
// its own under the former name. short is the same log before its last ten
// commits, without the files.
func restoredLogs(t *testing.T) (whole, short *vfs.MemFS) {
	t.Helper()
	mem := vfs.NewMem()
	want := fill(t, mem, 20)
	l := reopened(t, mem)
	_, err := l.Backup(t.Context(), "backup", quiet)
	if err := errors.Join(err, l.Close(), mem.RemoveAll(testDir)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(t.Context(), "backup", Config{Dir: testDir, FS: mem}, quiet); err != nil {
		t.Fatal(err)
	}
	short = cloned(t, mem)
	removed(t, short, presentFile)
	addUnflushed(t, mem, want, 10)
	whole = cloned(t, mem)
	renamed(t, whole, presentFile, formerFile)
	setFile(t, whole, presentFile, fileData(t, mem, path.Join("backup", backupLog, highWaterName)))
	if err := syncFolder(whole, testDir); err != nil {
		t.Fatal(err)
	}
	return whole, short
}

// mustKeep checks a folder's state after an interruption: the log opens with
// its 30 commits, and its file then has the present name only. Before and
// after, a log that has lost some commits is refused.
func mustKeep(t *testing.T, left, short vfs.FS) {
	t.Helper()
	refused := func() {
		t.Helper()
		cut := cloned(t, short)
		for _, name := range []string{presentFile, formerFile} {
			if there(t, left, name) {
				setFile(t, cut, name, fileData(t, left, name))
			}
		}
		l, err := Open(Config{Dir: testDir, FS: cut})
		if err == nil {
			err = l.Close()
			t.Errorf("a log that has lost commits opens (%v)", err)
		} else if !errors.Is(err, errShorter) {
			t.Errorf("a log that has lost commits: %v", err)
		}
	}
	refused()
	l, err := Open(Config{Dir: testDir, FS: left})
	if err != nil {
		t.Errorf("the log does not open: %v", err)
		return
	}
	if head, _ := l.Head(); head != 30 {
		t.Errorf("the log has %d commits", head)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if !there(t, left, presentFile) || there(t, left, formerFile) {
		t.Error("the file was not renamed, or the former file still exists")
	}
	refused()
}

// TestFormerName: a log is checked with the high-water file of an earlier
// version, which is renamed when the log is opened for writing.
func TestFormerName(t *testing.T) {
	whole, short := formerLogs(t)
	t.Run("alone", func(t *testing.T) { mustKeep(t, cloned(t, whole), short) })
	t.Run("read only", func(t *testing.T) {
		fs := cloned(t, whole)
		l, err := Open(Config{Dir: testDir, FS: fs, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil || !there(t, fs, formerFile) || there(t, fs, presentFile) {
			t.Errorf("reading has renamed the file (%v)", err)
		}
	})
	t.Run("of a log that is too short", func(t *testing.T) {
		cut := cloned(t, short)
		setFile(t, cut, formerFile, fileData(t, whole, formerFile))
		for range 2 {
			_, err := Open(Config{Dir: testDir, FS: cut})
			if !errors.Is(err, errShorter) || !strings.Contains(err.Error(), "remove "+formerName) {
				t.Errorf("opened: %v", err)
			}
		}
		if !there(t, cut, formerFile) || there(t, cut, presentFile) {
			t.Error("the refusal has renamed the file")
		}
	})
	// The earlier version has run once more, so its file is ahead or behind.
	mark := func(position events.Position) []byte { return markAt(t, whole, position) }
	for name, position := range map[string][2]events.Position{
		"the former one is ahead":  {25, 30},
		"the former one is behind": {30, 25},
		"both are the same":        {30, 30},
	} {
		t.Run(name, func(t *testing.T) {
			fs := cloned(t, whole)
			setFile(t, fs, presentFile, mark(position[0]))
			setFile(t, fs, formerFile, mark(position[1]))
			mustKeep(t, fs, short)
		})
	}
	t.Run("of another history", func(t *testing.T) {
		fs := cloned(t, whole)
		setFile(t, fs, presentFile, mark(30))
		l := reopened(t, fs)
		if err := errors.Join(l.highWater.write(l.logID, head{25, [32]byte{1}}), l.highWater.write(l.logID, head{25, [32]byte{1}}), l.Close()); err != nil {
			t.Fatal(err)
		}
		setFile(t, fs, formerFile, fileData(t, fs, presentFile))
		setFile(t, fs, presentFile, mark(30))
		if _, err := Open(Config{Dir: testDir, FS: fs}); !errors.Is(err, errChain) {
			t.Errorf("opened: %v", err)
		}
	})
}

// TestStaleMark: a backup's file that an earlier version left in the restored log
// is ignored and replaced, if the log has its own file. In every other case a
// file of another log is refused, and the error names the remedy.
func TestStaleMark(t *testing.T) {
	whole, short := restoredLogs(t)
	stale, own := fileData(t, whole, presentFile), fileData(t, whole, formerFile)
	t.Run("present name", func(t *testing.T) { mustKeep(t, cloned(t, whole), short) })
	t.Run("former name", func(t *testing.T) {
		fs := cloned(t, whole)
		setFile(t, fs, presentFile, own)
		setFile(t, fs, formerFile, stale)
		mustKeep(t, fs, short)
	})
	t.Run("read only", func(t *testing.T) {
		fs := cloned(t, whole)
		l, err := Open(Config{Dir: testDir, FS: fs, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil || !bytes.Equal(fileData(t, fs, presentFile), stale) || !bytes.Equal(fileData(t, fs, formerFile), own) {
			t.Errorf("reading has changed the files (%v)", err)
		}
	})
	t.Run("nothing appended since", func(t *testing.T) {
		fs := cloned(t, short)
		setFile(t, fs, presentFile, stale)
		setFile(t, fs, formerFile, markAt(t, short, 20))
		for range 2 {
			if err := reopened(t, fs).Close(); err != nil {
				t.Fatal(err)
			}
		}
		if string(fileData(t, fs, presentFile)[:logIDLength]) == string(stale[:logIDLength]) || there(t, fs, formerFile) {
			t.Error("the stale file was not replaced")
		}
	})
	other, _ := formerLogs(t)
	// Another log that was restored from the same backup, and not used since.
	sibling := bytes.Clone(stale)
	// The origin's file after the origin has continued, which no backup holds.
	later := bytes.Clone(stale)
	origin, err := decodeHead(stale[logIDLength:markBody])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, placeStep} {
		copy(sibling[at:], sealed(bytes.Repeat([]byte("a"), logIDLength), origin))
		copy(later[at:], sealed(stale[:logIDLength], head{30, [32]byte{1}}))
	}
	mixed := bytes.Clone(own)
	copy(mixed, stale[:markSize])
	for name, c := range map[string]struct{ present, former []byte }{
		"stale alone":                  {stale, nil},
		"stale alone, former name":     {nil, stale},
		"both stale":                   {stale, stale},
		"stale, own empty":             {stale, []byte{}},
		"another log's":                {fileData(t, other, formerFile), own},
		"another log's, former name":   {own, fileData(t, other, formerFile)},
		"the origin's, but continued":  {later, own},
		"a sibling's":                  {sibling, own},
		"own overwritten in one place": {mixed, own},
	} {
		t.Run(name, func(t *testing.T) {
			for _, log := range []*vfs.MemFS{whole, short} {
				fs := cloned(t, log)
				for file, data := range map[string][]byte{presentFile: c.present, formerFile: c.former} {
					if there(t, fs, file) {
						removed(t, fs, file)
					}
					if data != nil {
						setFile(t, fs, file, data)
					}
				}
				_, err := Open(Config{Dir: testDir, FS: fs})
				switch {
				case err == nil:
					t.Error("opened")
				case log == short && errors.Is(err, errShorter), name == "own overwritten in one place" && strings.Contains(err.Error(), "damaged"):
				case !errors.Is(err, errOtherLog) || !strings.Contains(err.Error(), "(remove "):
					t.Error(err)
				}
				for file, data := range map[string][]byte{presentFile: c.present, formerFile: c.former} {
					if there(t, fs, file) != (data != nil) || data != nil && !bytes.Equal(fileData(t, fs, file), data) {
						t.Errorf("the refusal has changed %s", file)
					}
				}
			}
		})
	}
}

// sealed returns a place of the high-water file.
func sealed(logID []byte, h head) []byte {
	b := append(bytes.Clone(logID), encodeHead(h)...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errMarkDisk = errors.New("the disk does not do that")

// A markDisk makes one operation on the high-water file fail, or cuts the power
// there. It counts operations from the first look for the file, which is after
// Pebble has opened.
type markDisk struct {
	vfs.FS
	at       int  // the operation that fails
	happened bool // it takes effect, then fails
	cut      func()

	mu     sync.Mutex // guards the fields below
	begun  bool
	n      int
	failed bool
}

func (d *markDisk) do(run func() error) error {
	d.mu.Lock()
	fails := d.begun && d.n == d.at
	if d.begun {
		d.n++
	}
	d.mu.Unlock()
	if fails && !d.happened {
		return d.fail()
	}
	if err := run(); err != nil {
		return err
	}
	if fails {
		return d.fail()
	}
	return nil
}

func (d *markDisk) fail() error {
	d.mu.Lock()
	d.failed = true
	d.mu.Unlock()
	d.cut()
	return errMarkDisk
}

func isMark(name string) bool {
	return path.Base(name) == highWaterName || path.Base(name) == formerName
}

// file does an operation that opens a file. It counts the operation if it
// concerns the mark.
func (d *markDisk) file(concerns bool, open func() (vfs.File, error)) (f vfs.File, err error) {
	if !concerns {
		return open()
	}
	err = d.do(func() (err error) { f, err = open(); return })
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return markFile{f, d}, nil
}

func (d *markDisk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if isMark(name) {
		d.mu.Lock()
		d.begun = true
		d.mu.Unlock()
	}
	return d.file(isMark(name), func() (vfs.File, error) { return d.FS.Open(name, opts...) })
}

func (d *markDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(isMark(name), func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *markDisk) OpenDir(name string) (vfs.File, error) {
	d.mu.Lock()
	begun := d.begun
	d.mu.Unlock()
	return d.file(begun && name == testDir, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d *markDisk) Rename(from, to string) error {
	if !isMark(from) {
		return d.FS.Rename(from, to)
	}
	return d.do(func() error { return d.FS.Rename(from, to) })
}

func (d *markDisk) Remove(name string) error {
	if !isMark(name) {
		return d.FS.Remove(name)
	}
	return d.do(func() error { return d.FS.Remove(name) })
}

// A markFile is the high-water file, or its folder.
type markFile struct {
	vfs.File
	disk *markDisk
}

func (f markFile) Sync() error { return f.disk.do(f.File.Sync) }

func (f markFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do(func() (err error) { n, err = f.File.WriteAt(b, at); return })
	return n, err
}

// writeUnsynced overwrites a file. A power cut may undo that.
func writeUnsynced(t *testing.T, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestEveryRenameError makes each operation on the high-water file fail in turn
// while the file is renamed, before or after the operation takes effect, with
// or without a power cut at that moment. At no moment may a log that has lost
// commits be opened.
func TestEveryRenameError(t *testing.T) {
	whole, short := formerLogs(t)
	both := cloned(t, whole)
	renamed(t, both, formerFile, presentFile)
	setFile(t, both, formerFile, fileData(t, both, presentFile))
	if err := syncFolder(both, testDir); err != nil {
		t.Fatal(err)
	}
	// Both files are at the newest commit, but only the former one is durable.
	late := cloned(t, both)
	setFile(t, late, presentFile, markAt(t, whole, 10))
	unsynced := markAt(t, whole, 30)
	restored, restoredShort := restoredLogs(t)
	for name, c := range map[string]struct {
		from, short *vfs.MemFS
		unsynced    []byte // content of the present file that is not durable
	}{
		"former":   {whole, short, nil},
		"both":     {both, short, nil},
		"unsynced": {late, short, unsynced},
		"restored": {restored, restoredShort, nil},
	} {
		operations := 0
		for at := 0; at <= operations; at++ {
			for _, happened := range []bool{false, true} {
				for _, keep := range []int{-1, 0, 50, 100} { // percent of the unsynced data; -1: no power cut
					mem := cloned(t, c.from)
					if c.unsynced != nil {
						writeUnsynced(t, mem, presentFile, c.unsynced)
					}
					left := mem
					d := &markDisk{FS: mem, at: at, happened: happened, cut: func() {
						if keep >= 0 {
							left = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(uint64(at), 1))})
						}
					}}
					l, err := Open(Config{Dir: testDir, FS: d})
					if err == nil {
						err = l.Close()
					}
					operations = max(operations, d.n)
					if d.failed != errors.Is(err, errMarkDisk) {
						t.Errorf("%s: operation %d: %v", name, at, err)
					}
					t.Run(fmt.Sprintf("%s %d %t %d", name, at, happened, keep), func(t *testing.T) { mustKeep(t, left, c.short) })
				}
			}
		}
		t.Logf("%s: %d operations", name, operations)
		if operations < 5 {
			t.Errorf("%s: only %d operations", name, operations)
		}
	}
}
