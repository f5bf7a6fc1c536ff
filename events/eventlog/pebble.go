package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/internal/pebbledb"
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
	db, err := pebble.Open(c.Dir, pebbledb.Options(database(c)))
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

// database configures Pebble, the same for each log.
func database(c Config) pebbledb.Config {
	return pebbledb.Config{Name: "event log", FS: c.FS, ReadOnly: c.ReadOnly, Logger: c.Logger, Fatal: c.Fatal}
}
