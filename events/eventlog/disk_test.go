package eventlog_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var errDisk = errors.New("the disk does not do that")

// A disk is a file system in memory whose operations can be made to fail,
// before or after they take effect. (Pebble's errorfs only fails operations
// before.)
//
// Syncing a file also makes its folder's entries durable, as journalling file
// systems do. Pebble relies on this: it syncs a new manifest, but not the
// folder, before the marker that names the manifest.
type disk struct {
	vfs.FS // mem

	mem *vfs.MemFS
	// done is called after each operation that may have changed the disk.
	done func()

	mu    sync.Mutex
	fault fault // nil: no operation fails
	n     int   // operations so far
}

// A fault is called for each operation. It returns functions to call before and
// after the operation, or nil. Their error becomes the operation's error; an
// error before prevents the operation.
type fault func(write bool) (before, after func() error)

func newDisk(mem *vfs.MemFS) *disk {
	return &disk{FS: mem, mem: mem, done: func() {}}
}

// breakBy sets the fault, replacing an earlier one.
func (d *disk) breakBy(f fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// operations returns the number of operations so far.
func (d *disk) operations() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// each calls f after each write from now on.
func (d *disk) each(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = f
}

// afterCrash returns the disk's content after a power cut now: all synced data,
// and about percent of the rest, in pieces.
func (d *disk) afterCrash(percent int, seed uint64) *vfs.MemFS {
	return d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})
}

func (d *disk) do(write bool, run func() error) error {
	var before, after func() error
	d.mu.Lock()
	d.n++
	if d.fault != nil {
		before, after = d.fault(write)
	}
	d.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	if err := run(); err != nil {
		return err
	}
	if write {
		d.mu.Lock()
		done := d.done
		d.mu.Unlock()
		done()
	}
	if after != nil {
		return after()
	}
	return nil
}

// file does an operation that opens or creates the file of that name.
func (d *disk) file(name string, write bool, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := d.do(write, func() (err error) { f, err = open(); return })
	if err != nil {
		if f != nil {
			f.Close()
		}
		return nil, err
	}
	return diskFile{f, d, name}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(name, true, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(name, false, func() (vfs.File, error) { return d.FS.Open(name, opts...) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(name, true, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.file(name, false, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(to, true, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

func (d *disk) Link(from, to string) error {
	return d.do(true, func() error { return d.FS.Link(from, to) })
}

func (d *disk) Rename(from, to string) error {
	return d.do(true, func() error { return d.FS.Rename(from, to) })
}

func (d *disk) Remove(name string) error {
	return d.do(true, func() error { return d.FS.Remove(name) })
}

func (d *disk) RemoveAll(name string) error {
	return d.do(true, func() error { return d.FS.RemoveAll(name) })
}

func (d *disk) MkdirAll(name string, perm os.FileMode) error {
	return d.do(true, func() error { return d.FS.MkdirAll(name, perm) })
}

func (d *disk) Lock(name string) (c io.Closer, err error) {
	err = d.do(true, func() (err error) { c, err = d.FS.Lock(name); return })
	if err != nil && c != nil {
		c.Close()
		c = nil
	}
	return c, err
}

func (d *disk) List(name string) (list []string, err error) {
	err = d.do(false, func() (err error) { list, err = d.FS.List(name); return })
	return list, err
}

func (d *disk) Stat(name string) (info vfs.FileInfo, err error) {
	err = d.do(false, func() (err error) { info, err = d.FS.Stat(name); return })
	return info, err
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

// A diskFile is a file, or a folder, on a disk.
type diskFile struct {
	vfs.File
	disk *disk
	name string
}

func (f diskFile) Read(b []byte) (n int, err error) {
	err = f.disk.do(false, func() (err error) { n, err = f.File.Read(b); return })
	return n, err
}

func (f diskFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do(false, func() (err error) { n, err = f.File.ReadAt(b, at); return })
	return n, err
}

func (f diskFile) Write(b []byte) (n int, err error) {
	err = f.disk.do(true, func() (err error) { n, err = f.File.Write(b); return })
	return n, err
}

func (f diskFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do(true, func() (err error) { n, err = f.File.WriteAt(b, at); return })
	return n, err
}

func (f diskFile) Preallocate(at, length int64) error {
	return f.disk.do(true, func() error { return f.File.Preallocate(at, length) })
}

func (f diskFile) Sync() error     { return f.disk.do(true, f.sync) }
func (f diskFile) SyncData() error { return f.disk.do(true, f.sync) }

func (f diskFile) sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	folder, err := f.disk.mem.OpenDir(f.disk.PathDir(f.name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (f diskFile) SyncTo(length int64) (full bool, err error) {
	err = f.disk.do(true, func() (err error) { full, err = f.File.SyncTo(length); return })
	return full, err
}

func (f diskFile) Close() error { return f.disk.do(true, f.File.Close) }
