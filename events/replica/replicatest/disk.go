package replicatest

import (
	"errors"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A disk is a file system in memory whose power can be cut at a write. The writer
// then blocks until the test has stopped calling it, and writes to a disk that
// nothing reads any more. It never sees an error of the disk.
//
// Syncing a file also makes its folder's entries durable, as journalling file
// systems do. Pebble relies on this.
type disk struct {
	vfs.FS // mem

	mem *vfs.MemFS

	mu     sync.Mutex    // guards the fields below
	writes int           // before the power goes; negative: it does not go
	offers int           // before the power goes; negative: it does not go
	cut    func()        // called once when the power goes
	gone   chan struct{} // closed when the test no longer calls the writer
}

func newDisk(mem *vfs.MemFS) *disk {
	return &disk{FS: mem, mem: mem, writes: -1, offers: -1, gone: make(chan struct{})}
}

// breakAfter cuts the power after so many writes.
func (d *disk) breakAfter(writes int, cut func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes, d.cut = writes, cut
}

// breakAfterOffers cuts the power after so many offers of the node on this disk.
func (d *disk) breakAfterOffers(offers int, cut func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offers, d.cut = offers, cut
}

// offer counts an offer.
func (d *disk) offer() {
	d.mu.Lock()
	goes := d.offers == 0
	if goes {
		d.writes = 0
	}
	d.offers--
	d.mu.Unlock()
	if goes {
		d.goOut()
	}
}

// goOut cuts the power, unless it is cut.
func (d *disk) goOut() {
	d.mu.Lock()
	cut := d.cut
	d.cut = nil
	d.mu.Unlock()
	if cut != nil {
		cut()
	}
}

// repair lets the writers that are blocked run to their ends.
func (d *disk) repair() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes, d.offers = -1, -1
	close(d.gone)
}

// write does one write.
func (d *disk) write(run func() error) error {
	d.mu.Lock()
	blocked := d.writes == 0
	if d.writes > 0 {
		d.writes--
	}
	d.mu.Unlock()
	if blocked {
		d.goOut()
		<-d.gone
	}
	return run()
}

// afterCrash returns the disk's content after a power cut now: all synced data,
// and about percent of the rest, in pieces.
func (d *disk) afterCrash(percent int, seed uint64) *vfs.MemFS {
	return d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0))})
}

func (d *disk) open(name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.write(func() (err error) { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	return diskFile{f, d, name}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.open(name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open(to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

func (d *disk) Rename(from, to string) error {
	return d.write(func() error { return d.FS.Rename(from, to) })
}

func (d *disk) Remove(name string) error {
	return d.write(func() error { return d.FS.Remove(name) })
}

func (d *disk) Unwrap() vfs.FS { return d.FS }

// A diskFile is a file that is written.
type diskFile struct {
	vfs.File
	disk *disk
	name string
}

func (f diskFile) Write(b []byte) (n int, err error) {
	err = f.disk.write(func() (err error) { n, err = f.File.Write(b); return err })
	return n, err
}

func (f diskFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.write(func() (err error) { n, err = f.File.WriteAt(b, at); return err })
	return n, err
}

func (f diskFile) Sync() error     { return f.disk.write(f.sync) }
func (f diskFile) SyncData() error { return f.disk.write(f.sync) }

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
	err = f.disk.write(func() (err error) { full, err = f.File.SyncTo(length); return err })
	return full, err
}
