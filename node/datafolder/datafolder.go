// Package datafolder knows the folder in which a policy node keeps its state:
// what is in it, whether its log is good, and whether a backup may become its
// log.
//
// It promises that Open and Verify change nothing, and that Restore puts a log
// into the folder only when it has read all of it through. It works while no
// node runs there: a log that is open elsewhere is refused. It decides nothing
// about stanzas and serves nobody.
package datafolder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postern-im/postern/events/eventlog"
)

// The folders within a data folder.
const (
	logFolder  = "log"
	keysFolder = "nats"
)

// Log is the folder of the log in a data folder.
func Log(data string) string { return filepath.Join(data, logFolder) }

// Keys is the folder of the gateways' keys in a data folder. They belong to no
// log: they stay when another one is restored.
func Keys(data string) string { return filepath.Join(data, keysFolder) }

// A Config names a data folder. Dir is required.
type Config struct {
	Dir string
	// Fatal is called when the disk fails so that what is on it is not known; see
	// eventlog.Config. It must not return.
	Fatal func(reason string)
}

// log is how the log of the folder is opened.
func (c Config) log(readOnly bool) eventlog.Config {
	return eventlog.Config{Dir: Log(c.Dir), ReadOnly: readOnly, Fatal: c.Fatal}
}

// Open opens the log of a data folder for reading.
func Open(c Config) (*eventlog.Log, error) {
	if _, err := os.Stat(Log(c.Dir)); err != nil {
		return nil, fmt.Errorf("there is no log in %s: %w", c.Dir, err)
	}
	l, err := eventlog.Open(c.log(true))
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("the log in %s is in use: stop the node, or verify a backup of it", c.Dir)
	}
	return l, err
}

// A Restored is the log that a restore has made.
type Restored struct {
	LogID string
	// Origin is the log that the backup is of, and up to where it is the same.
	Origin eventlog.Origin
}

// Restore makes the log of a data folder from a backup. The folder is created;
// if it is there, no node may have used it. When Restore fails, no log is in it.
func Restore(ctx context.Context, from string, c Config, progress eventlog.Progress) (r Restored, err error) {
	if err := mayRestore(c.Dir); err != nil {
		return r, err
	}
	if _, err := os.Stat(from); err != nil {
		return r, fmt.Errorf("look for the backup: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return r, fmt.Errorf("make the data folder: %w", err)
	}
	if _, r.Origin, err = eventlog.Restore(ctx, from, c.log(false), progress); err != nil {
		return r, err
	}
	l, err := eventlog.Open(c.log(true))
	if err != nil {
		return r, err
	}
	r.LogID = l.LogID()
	return r, l.Close()
}

// maxNamed bounds the files an error names.
const maxNamed = 5

// mayRestore refuses a data folder that a node has used: its records and its
// log belong to another history. The gateways' keys may be in it, and what a
// restore that was broken off has left.
func mayRestore(data string) error {
	list, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look into the data folder: %w", err)
	}
	var names []string
	for _, e := range list {
		if name := e.Name(); name != keysFolder && name != eventlog.Restoring(logFolder) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if n := len(names) - maxNamed; n > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", n))
	}
	return fmt.Errorf("%s is not empty: it has %s in it; restore into a new folder, or move what is there away (%s may stay)",
		data, strings.Join(names, ", "), keysFolder)
}
