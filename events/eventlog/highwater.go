package eventlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// A highWater is a file beside Pebble's that holds the newest head, the log's
// high-water mark. Pebble treats damage in the last 32 KB of its write-ahead log
// as an unfinished write and silently drops it, and does the same when the file was
// cut off; that can be all that was acknowledged in weeks. The chain cannot show
// the loss, because the rest is a good chain. The high-water mark can.
//
// The file is written after the commit is durable and is not synced itself, which
// costs microseconds. It is never ahead of the durable log, and behind only when
// the power has gone. It has two places, written in turn, so that one is whole
// whatever happens to the other.
type highWater struct {
	file vfs.File
	next int64 // the place to write to
}

const (
	highWaterName = "HIGHWATER"
	// formerName is the name the file had in logs of earlier versions. Such a log
	// is checked by it; then the file gets its present name.
	formerName = "WITNESS"

	// placeStep keeps the places in different pages of any disk.
	placeStep = 4096

	// log id, position, hash, and the SHA-256 of these
	markBody = logIDLength + 8 + 32
	markSize = markBody + sha256.Size
)

var errShorter = errors.New("the log had reached further")

// A mark is what a high-water file says.
type mark struct {
	name string // of the file
	head head   // the newest that it holds
	next int64  // the place that does not hold it
}

// readMarks reads the high-water file under both names and returns the newest mark
// first. Both files are there when an earlier version has run since the file got
// its present name. None is there when the log is new or a copy, or when an
// operator has removed the file to do without what the log has lost.
func readMarks(fsys vfs.FS, dir, logID string) (marks []mark, err error) {
	for _, name := range []string{highWaterName, formerName} {
		f, err := fsys.Open(fsys.PathJoin(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := readMark(f, name, logID)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(b.head.position, a.head.position) })
	return marks, nil
}

// openHighWater opens the file to write to, or creates it when there are no marks.
// At each moment, and after a crash at any moment, the newest mark is on the disk
// under one of the names: the former file gets its present name in one step, or is
// removed once a mark that is as new is durable.
func openHighWater(fsys vfs.FS, dir string, marks []mark) (w *highWater, err error) {
	name, former := fsys.PathJoin(dir, highWaterName), fsys.PathJoin(dir, formerName)
	w = &highWater{}
	if len(marks) > 0 {
		w.next = marks[0].next
		if marks[0].name == formerName {
			if err := fsys.Rename(former, name); err != nil {
				return nil, err
			}
		}
	}
	if w.file, err = fsys.OpenReadWrite(name, vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	switch {
	case len(marks) == 1 && marks[0].name == highWaterName:
		return w, nil
	case len(marks) == 2 && marks[0].name == highWaterName:
		if err := w.file.Sync(); err != nil {
			return w, err
		}
		if err := fsys.Remove(former); err != nil {
			return w, err
		}
	}
	return w, syncFolder(fsys, dir)
}

// readMark reads both places of a file and returns the newer head. A file that is
// empty was being created: nothing had been appended.
func readMark(r io.Reader, name, logID string) (m mark, err error) {
	m.name = name
	all, err := io.ReadAll(io.LimitReader(r, placeStep+markSize))
	if err != nil || len(all) == 0 {
		return m, err
	}
	whole := false
	for at := int64(0); at < 2*placeStep; at += placeStep {
		b := all[min(at, int64(len(all))):]
		if len(b) < markSize {
			continue
		}
		sum := sha256.Sum256(b[:markBody])
		if !bytes.Equal(sum[:], b[markBody:markSize]) {
			continue
		}
		if string(b[:logIDLength]) != logID {
			return m, fmt.Errorf("%s is of another log", name)
		}
		h, err := decodeHead(b[logIDLength:markBody])
		if err != nil {
			return m, err
		}
		if !whole || h.position > m.head.position {
			whole, m.head, m.next = true, h, placeStep-at
		}
	}
	if !whole {
		return m, fmt.Errorf("%s is damaged", name)
	}
	return m, nil
}

// write puts a head into the place that holds the older one.
func (w *highWater) write(logID string, h head) error {
	b := append([]byte(logID), encodeHead(h)...)
	sum := sha256.Sum256(b)
	if _, err := w.file.WriteAt(append(b, sum[:]...), w.next); err != nil {
		return err
	}
	w.next = placeStep - w.next
	return nil
}

// close makes the last head durable as well.
func (w *highWater) close() error {
	return errors.Join(w.file.Sync(), w.file.Close())
}

// checkMark refuses a log that does not reach its high-water mark, or has another
// commit there.
func (l *Log) checkMark(m mark) error {
	seen := m.head
	if seen.position > l.head.position {
		return &events.CorruptError{Position: l.head.position + 1,
			Err: fmt.Errorf("%w: it ends at %d and had %d (remove %s to do without the rest)",
				errShorter, l.head.position, seen.position, m.name)}
	}
	if seen.position == 0 {
		return nil
	}
	record, found, err := l.get(keyCommit(seen.position))
	if err != nil {
		return err
	}
	if !found || events.Hash(record) != seen.hash {
		return &events.CorruptError{Position: seen.position, Err: errChain}
	}
	return nil
}

func syncFolder(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
