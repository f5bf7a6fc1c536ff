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
	// blockSize makes the scans of a start about one and a half times faster
	// than Pebble's 4 KB. Single reads get slower, but they are rare.
	blockSize = 32 << 10

	// memTableSize is how much Pebble keeps in memory and in its write-ahead log
	// before it writes a table. With Pebble's 4 MB, copying a long log needs twice
	// the CPU, because tables are merged more often. A start reads the write-ahead
	// log again, so a larger one would make starts slower.
	memTableSize = 16 << 20

	// cacheSize is enough for the blocks that single reads use again and again.
	cacheSize = 16 << 20

	// maxFailures is how often in a row Pebble's background work may fail.
	// Pebble retries at once, without end; a disk that fails this often is
	// broken, and retrying would only hide that.
	maxFailures = 16

	// formatMajor is Pebble's on-disk format. It is fixed here, because a newer
	// Pebble would otherwise raise it, which cannot be undone.
	formatMajor = pebble.FormatValueSeparation
)

// Exists reports whether a folder holds a log; fsys nil means the disk. It
// opens nothing and changes nothing.
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

// checkThere refuses a folder that should hold a log and does not. A folder
// that holds a high-water mark and no log has lost its log.
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
			return fmt.Errorf("%w, but the file %s shows that there was one", ErrNoLog, name)
		}
	}
	return nil
}

// openPebble opens the database. Only one process at a time can have it open.
func openPebble(c Config) (*pebble.DB, error) {
	db, err := pebble.Open(c.Dir, options(c))
	if err == nil {
		return db, nil
	}
	switch {
	case strings.Contains(err.Error(), "lock held by current process"): // Pebble's text
		return nil, &LockedError{Holder: os.Getpid(), Err: err}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES):
		// F_SETLK may return either error (fcntl(2)). Opening a file without
		// permission returns EACCES too.
		if holder := lockHolder(c.Dir); holder != 0 || errors.Is(err, syscall.EAGAIN) {
			return nil, &LockedError{Holder: holder, Err: err}
		}
	}
	return nil, err
}

// options returns Pebble's options, the same for each log.
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
		MemTableSize:       memTableSize,
		FormatMajorVersion: formatMajor,
		EventListener:      listener(logger),
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.ZstdCompression }
	}
	return o
}

// listener observes Pebble's background work.
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
		// The reader that found the damage gets an error as well. With Pebble's
		// default listener the damage would end the process.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			logger.Errorf("data corruption in %s: %v", info.Path, info.Details)
		},
	}
}

// pebbleLogger forwards Pebble's log messages.
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

// Fatalf is called when Pebble gives up. It must not return.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if l.fatal != nil {
		l.fatal(reason)
	}
	panic("eventlog: the disk has failed: " + reason)
}
