package eventlog

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	// blockSize makes scans, which a start is made of, about one and a half
	// times faster than Pebble's 4 KB; single reads get slower, and are rare.
	blockSize = 32 << 10

	// cacheSize holds the blocks that single reads touch again and again.
	cacheSize = 16 << 20

	// formatMajor is Pebble's on-disk format, named so that a newer Pebble
	// does not raise it by itself: that is one-way.
	formatMajor = pebble.FormatValueSeparation
)

// options are Pebble's, the same for each log.
func options(c Config) *pebble.Options {
	logger := pebbleLogger{log: c.Logger, fatal: c.Fatal}
	if logger.log == nil {
		logger.log = slog.New(slog.DiscardHandler)
	}
	o := &pebble.Options{
		FS:                 c.FS,
		Logger:             logger,
		CacheSize:          cacheSize,
		FormatMajorVersion: formatMajor,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				logger.log.Error("event log: background work", "error", err)
			},
			// The reader that met it gets an error, too: nothing here is fatal
			// to the rest.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				logger.log.Error("event log: data corruption", "path", info.Path, "details", info.Details)
			},
		},
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockSize
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.ZstdCompression }
	}
	return o
}

// pebbleLogger passes on what Pebble logs.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(reason string)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("event log: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("event log: " + fmt.Sprintf(format, args...))
}

// Fatalf is where Pebble gives up. It must not return.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	l.log.Error("event log: the disk has failed", "reason", reason)
	if l.fatal != nil {
		l.fatal(reason)
	}
	panic("eventlog: the disk has failed: " + reason)
}
