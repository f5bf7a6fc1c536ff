package eventlog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// A witness is a file beside Pebble's that holds the newest head. Pebble takes
// damage in the last 32 KB of its write-ahead log for a write that a power cut
// left unfinished, and opens without what stood there, which can be all that
// was acknowledged in weeks; the same with a log that was cut off. The chain
// cannot show that, for what is left is a good chain. The witness can.
//
// It is written after the commit is durable and not synced itself, which costs
// microseconds: it is never ahead of what must be there, and behind only when
// the power goes. It has two places, written in turn, so that one is whole
// whatever happens to the other.
type witness struct {
	file vfs.File
	next int64 // the place to write to
}

const (
	witnessName = "WITNESS"

	// witnessStep keeps the places in different pages of any disk.
	witnessStep = 4096

	// log id, position, hash, and the SHA-256 of these
	witnessBody = logIDLength + 8 + 32
	witnessSize = witnessBody + sha256.Size
)

var errShorter = errors.New("the log had reached further")

// openWitness opens the file, or creates it if it may, and gives the newest
// head it knows. found is false when there is none: the log is new, a copy, or
// somebody has removed it to do without what the log has lost.
func openWitness(fsys vfs.FS, dir, logID string, readOnly bool) (w *witness, h head, found bool, err error) {
	name := fsys.PathJoin(dir, witnessName)
	w = &witness{}
	old, err := fsys.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, head{}, false, err
	default:
		h, w.next, err = readWitness(old, logID)
		if err := errors.Join(err, old.Close()); err != nil {
			return nil, head{}, false, err
		}
		found = true
	}
	if readOnly {
		return nil, h, found, nil
	}
	if w.file, err = fsys.OpenReadWrite(name, vfs.WriteCategoryUnspecified); err != nil {
		return nil, head{}, false, err
	}
	if !found {
		err = syncFolder(fsys, dir)
	}
	return w, h, found, err
}

// readWitness reads both places and gives the newer head and the other place.
// A file that is empty was being created: nothing had been appended.
func readWitness(r io.Reader, logID string) (newest head, next int64, err error) {
	all, err := io.ReadAll(io.LimitReader(r, witnessStep+witnessSize))
	if err != nil || len(all) == 0 {
		return head{}, 0, err
	}
	whole := false
	for at := int64(0); at < 2*witnessStep; at += witnessStep {
		b := all[min(at, int64(len(all))):]
		if len(b) < witnessSize {
			continue
		}
		sum := sha256.Sum256(b[:witnessBody])
		if !bytes.Equal(sum[:], b[witnessBody:witnessSize]) {
			continue
		}
		if string(b[:logIDLength]) != logID {
			return head{}, 0, fmt.Errorf("%s is of another log", witnessName)
		}
		h, err := decodeHead(b[logIDLength:witnessBody])
		if err != nil {
			return head{}, 0, err
		}
		if !whole || h.position > newest.position {
			whole, newest, next = true, h, witnessStep-at
		}
	}
	if !whole {
		return head{}, 0, fmt.Errorf("%s is damaged", witnessName)
	}
	return newest, next, nil
}

// write puts a head into the place that holds the older one.
func (w *witness) write(logID string, h head) error {
	b := append([]byte(logID), encodeHead(h)...)
	sum := sha256.Sum256(b)
	if _, err := w.file.WriteAt(append(b, sum[:]...), w.next); err != nil {
		return err
	}
	w.next = witnessStep - w.next
	return nil
}

// close makes the last head durable as well.
func (w *witness) close() error {
	return errors.Join(w.file.Sync(), w.file.Close())
}

// checkWitness compares the log with what its witness has seen.
func (l *Log) checkWitness(seen head) error {
	if seen.position > l.head.position {
		return &events.CorruptError{Position: l.head.position + 1,
			Err: fmt.Errorf("%w: it ends at %d and had %d (remove %s to do without the rest)",
				errShorter, l.head.position, seen.position, witnessName)}
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
