package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// blockSize makes scans, which a start is made of, about one and a half
	// times faster than Pebble's 4 KB; single reads get slower, and are rare.
	blockSize = 32 << 10

	// cacheSize holds the blocks that single reads touch again and again.
	cacheSize = 16 << 20

	// maxFailures is how often in a row Pebble's background work may fail. It
	// tries again at once and without end; a disk that refuses this often has
	// failed, and the loop would only hide that.
	maxFailures = 16

	// formatMajor is Pebble's on-disk format, named so that a newer Pebble
	// does not raise it by itself: that is one-way.
	formatMajor = pebble.FormatValueSeparation
)

// Exists reports whether a folder holds a log; nil is the disk. It opens
// nothing and changes nothing.
func Exists(dir string, fsys vfs.FS) (bool, error) {
	desc, err := pebble.Peek(dir, cmp.Or(fsys, vfs.Default))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return desc.Exists, nil
}

// checkThere refuses a folder that should hold a log and does not. One that
// holds a high-water mark and no log has lost its log.
func checkThere(c Config) error {
	found, err := Exists(c.Dir, c.FS)
	if err != nil || found {
		return err
	}
	if c.Existing {
		return ErrNoLog
	}
	fsys := cmp.Or(c.FS, vfs.Default)
	for _, name := range []string{highWaterName, formerName} {
		if _, err := fsys.Stat(fsys.PathJoin(c.Dir, name)); err == nil {
			return fmt.Errorf("%w, but the file %s of one that was there", ErrNoLog, name)
		}
	}
	return nil
}

// openPebble opens the database, whose folder one process at a time may have.
func openPebble(c Config) (*pebble.DB, error) {
	db, err := pebble.Open(c.Dir, options(c))
	if err == nil {
		return db, nil
	}
	switch {
	case strings.Contains(err.Error(), "lock held by current process"): // Pebble's own text
		return nil, &LockedError{Holder: os.Getpid(), Err: err}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES):
		// Either may be what F_SETLK gives (fcntl(2)); the second is also what
		// a file gives that this user may not open.
		if holder := lockHolder(c.Dir); holder != 0 || errors.Is(err, syscall.EAGAIN) {
			return nil, &LockedError{Holder: holder, Err: err}
		}
	}
	return nil, err
}

// options are Pebble's, the same for each log.
func options(c Config) *pebble.Options {
	logger := pebbleLogger{logger: c.Logger, fatal: c.Fatal}
	if logger.logger == nil {
		logger.logger = slog.New(slog.DiscardHandler)
	}
	o := &pebble.Options{
		FS:                 c.FS,
		ReadOnly:           c.ReadOnly,
		Logger:             logger,
		CacheSize:          cacheSize,
		FormatMajorVersion: formatMajor,
		EventListener:      listener(logger),
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.ZstdCompression }
	}
	return o
}

// listener watches Pebble's background work.
func listener(logger pebbleLogger) *pebble.EventListener {
	var failures atomic.Int64 // in a row
	succeeded := func(err error) {
		if err == nil {
			failures.Store(0)
		}
	}
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			logger.Errorf("background work: %v", err)
			if failures.Add(1) >= maxFailures {
				logger.Fatalf("background work fails again and again: %v", err)
			}
		},
		FlushEnd:      func(info pebble.FlushInfo) { succeeded(info.Err) },
		CompactionEnd: func(info pebble.CompactionInfo) { succeeded(info.Err) },
		// The reader that met it gets an error as well: it is not fatal to
		// the rest, which Pebble's own listener would make it.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			logger.Errorf("data corruption in %s: %v", info.Path, info.Details)
		},
	}
}

// pebbleLogger passes on what Pebble logs.
type pebbleLogger struct {
	logger *slog.Logger
	fatal  func(reason string)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.logger.Debug("event log: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.logger.Error("event log: " + fmt.Sprintf(format, args...))
}

// Fatalf is where Pebble gives up. It must not return.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if l.fatal != nil {
		l.fatal(reason)
	}
	panic("eventlog: the disk has failed: " + reason)
}
