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

// A highWater is the log's high-water mark: a file beside Pebble's that holds
// the newest head. Pebble treats damage in the last 32 KB of its write-ahead
// log as an unfinished write and silently drops the data there. The dropped data
// can be weeks of acknowledged commits. The same happens if the write-ahead log
// was cut off. The chain cannot show the loss, because the remaining records are
// a good chain. The high-water mark shows it.
//
// The file is written after a commit is durable, and is not synced after each
// write; a write costs microseconds. The file is therefore never ahead of the
// durable log, and it is behind only after a power cut. It has two places, which
// are written in turn, so that a failed write leaves the other place intact.
type highWater struct {
	file vfs.File
	next int64 // offset of the place to write next
}

const (
	highWaterName = "HIGHWATER"
	// formerName is the file's name in logs of earlier versions. Open checks
	// such a log with this file, and then renames the file.
	formerName = "WITNESS"

	// placeStep puts the places on different pages of any disk.
	placeStep = 4096

	// A place holds the log id, position and hash, and their SHA-256.
	markBody = logIDLength + 8 + 32
	markSize = markBody + sha256.Size
)

var (
	errShorter  = errors.New("the log is shorter than before")
	errOtherLog = errors.New("the high-water mark belongs to another log")
)

// A mark is the content of a high-water file.
type mark struct {
	name  string // of the file
	logID string // of the log that wrote the file; empty if the file is empty
	head  head   // the newest head in it
	next  int64  // offset of the place without the newest head
	stale bool   // the file is a leftover of a restore; see checkMarks
}

// readMarks reads the high-water file under both names. Both files exist if an
// earlier version has run since the file was renamed. Neither exists if the log
// is new or a copy, or if an operator has removed the file to continue without
// the part that the log has lost.
func readMarks(fsys vfs.FS, dir string) (marks []mark, err error) {
	for _, name := range []string{highWaterName, formerName} {
		f, err := fsys.Open(fsys.PathJoin(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := readMark(f, name)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, nil
}

// openHighWater opens the file for writing, or creates it if there are no
// marks. At every moment, and after a crash at any moment, the newest mark is
// on the disk under one of the names: the former file is renamed in one step,
// or it is removed once a mark that is at least as new is durable. A stale file
// is replaced or removed by the same steps. marks are sorted by checkMarks.
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

// readMark reads both places of a file and returns the newer head. An empty
// file is one that was being created; nothing had been appended by then.
func readMark(r io.Reader, name string) (m mark, err error) {
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
		logID := string(b[:logIDLength])
		if whole && logID != m.logID {
			return m, fmt.Errorf("%s is damaged: its two places belong to different logs", name)
		}
		m.logID = logID
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

// write writes a head into the place with the older one.
func (w *highWater) write(logID string, h head) error {
	b := append([]byte(logID), encodeHead(h)...)
	sum := sha256.Sum256(b)
	if _, err := w.file.WriteAt(append(b, sum[:]...), w.next); err != nil {
		return err
	}
	w.next = placeStep - w.next
	return nil
}

// close makes the last head durable and closes the file.
func (w *highWater) close() error {
	return errors.Join(w.file.Sync(), w.file.Close())
}

// checkMarks compares the log with its marks, and sorts them: the newest mark
// first, stale ones last.
//
// A file of another log is refused, because it may have replaced the log's own
// file. One such file is ignored: an earlier version restored a backup and left
// the backup's file, because that version did not know the file's name. The file is
// stale if its mark is exactly the origin from which the log was restored, and
// the log has its own file under the other name.
func (l *Log) checkMarks(marks []mark) error {
	own := slices.ContainsFunc(marks, func(m mark) bool { return m.logID == l.logID })
	for i := range marks {
		m := &marks[i]
		if m.logID == l.logID || m.logID == "" {
			if err := l.checkMark(*m); err != nil {
				return err
			}
			continue
		}
		m.stale = own && slices.ContainsFunc(l.origins, func(o Origin) bool {
			return o.LogID == m.logID && head{o.Position, o.Hash} == m.head
		})
		if !m.stale {
			return fmt.Errorf("%w: %s does not show whether this log is complete (remove %s to continue without this check)",
				errOtherLog, m.name, m.name)
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int {
		switch {
		case a.stale:
			return 1
		case b.stale:
			return -1
		}
		return cmp.Compare(b.head.position, a.head.position)
	})
	return nil
}

// checkMark refuses a log that ends before its high-water mark, or has another
// commit there.
func (l *Log) checkMark(m mark) error {
	seen := m.head
	if seen.position > l.head.position {
		return &events.CorruptError{Position: l.head.position + 1,
			Err: fmt.Errorf("%w: it ends at %d and had reached %d (remove %s to continue without the rest)",
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
