package eventlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// Pebble does not survive a full disk: a write to its write-ahead log that fails
// ends the process, and so does background work that fails again and again. The
// log therefore writes nothing on a disk that is nearly full, and says
// events.ErrNoRoom instead. While it writes nothing Pebble has nothing to do, so
// others may fill the disk to the last byte.
const (
	// appendReserve is what an append leaves free: room for the largest batch in
	// the write-ahead log, in a table, and in another one while that is
	// compacted, and as much again.
	appendReserve = 4 * maxBatch
	// snapshotReserve is what a snapshot leaves free. It only spares time, so
	// it takes no room that commits, or the records of decisions, might need.
	snapshotReserve = 4 * appendReserve
)

// room refuses a write of about size bytes that would leave less than reserve of
// the disk free. A file system that does not tell is taken to have room.
func (l *Log) room(size, reserve uint64) error {
	usage, err := l.fs.GetDiskUsage(l.dir)
	if errors.Is(err, vfs.ErrUnsupported) || err == nil && usage.TotalBytes == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for room on the disk: %w", err)
	}
	if usage.AvailBytes < size+reserve {
		return fmt.Errorf("%w: of %d MiB that are free, %d MiB are kept free", events.ErrNoRoom, usage.AvailBytes>>20, reserve>>20)
	}
	return nil
}
