// Package pebbledb has the options that all databases of this installation share, and
// connects Pebble's messages with the log.
package pebbledb

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// BlockSize is the size of a block before compression. It makes long scans about one and a half times faster than Pebble's
	// 4 KB. Single reads get slower, but they are rare.
	BlockSize = 32 << 10

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

// Config configures the options of a database. The zero value is usable.
type Config struct {
	// Name names the database in messages.
	Name string
	// FS is the file system; nil means the disk.
	FS       vfs.FS
	ReadOnly bool
	// Logger gets Pebble's messages. Nil discards them.
	Logger *slog.Logger
	// Fatal is called when Pebble gives up. It must not return. Nil means a panic.
	Fatal func(reason string)
}

func (c Config) messages() logger {
	return logger{name: c.Name, logger: cmp.Or(c.Logger, slog.New(slog.DiscardHandler)), fatal: c.Fatal}
}

// GiveUp does what Pebble does when it gives up: it calls Fatal, or panics.
func (c Config) GiveUp(format string, args ...any) { c.messages().Fatalf(format, args...) }

// Options returns Pebble's options.
func Options(c Config) *pebble.Options {
	logger := c.messages()
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
		o.Levels[i].BlockSize = BlockSize
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.ZstdCompression }
	}
	return o
}

// listener observes Pebble's background work.
func listener(logger logger) *pebble.EventListener {
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

// logger forwards Pebble's log messages.
type logger struct {
	name   string
	logger *slog.Logger
	fatal  func(reason string)
}

func (l logger) Infof(format string, args ...any) {
	l.logger.Debug(l.name + ": " + fmt.Sprintf(format, args...))
}

func (l logger) Errorf(format string, args ...any) {
	l.logger.Error(l.name + ": " + fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble gives up. It must not return.
func (l logger) Fatalf(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if l.fatal != nil {
		l.fatal(reason)
	}
	panic(l.name + ": the disk has failed: " + reason)
}
