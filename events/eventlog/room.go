package eventlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// Pebble does not survive a full disk: a failed write to its write-ahead log
// ends the process, and so does background work that fails again and again.
// Therefore the log writes nothing on a disk that is nearly full, and returns
// events.ErrNoRoom. While the log writes nothing, Pebble has no work to do, so
// other programs may fill the disk to the last byte.
const (
	// AppendReserve is the space that an append leaves free. It is four times the
	// largest batch: in the write-ahead log, in a table, in a second table while
	// the first is compacted, and once more as a margin.
	AppendReserve = 4 * maxBatch
	// SnapshotReserve is the space that a snapshot leaves free. A snapshot only
	// saves time, so it must not use space that commits or the records of
	// decisions may need.
	SnapshotReserve = 4 * AppendReserve
)

// room refuses a write of about size bytes that would leave less than reserve
// of the disk free. If the file system does not report its space, room allows
// the write. If the space cannot be read, room refuses the write, which is safe
// because nothing has been written yet.
func (l *Log) room(size, reserve uint64) error {
	free, known, err := freeOn(l.fs, l.dir)
	if err != nil {
		return fmt.Errorf("%w, as far as is known: read its free space: %w", events.ErrNoRoom, err)
	}
	if known && free < size+reserve {
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are needed", events.ErrNoRoom, free>>20, (size+reserve)>>20)
	}
	return nil
}

// Free returns the free space of the disk that holds a folder, in bytes. known is
// false if the file system does not report it.
func Free(dir string) (free uint64, known bool, err error) {
	return freeOn(vfs.Default, dir)
}

func freeOn(fsys vfs.FS, dir string) (free uint64, known bool, err error) {
	usage, err := fsys.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) || err == nil && usage.TotalBytes == 0 {
		return 0, false, nil
	}
	return usage.AvailBytes, err == nil, err
}
