// Package datafolder works on the folder in which a policy node keeps its state,
// while no node runs there. It opens and verifies the log, restores a backup, makes
// the node the first one of a cluster or stand-alone again, and moves its data away.
//
// Open and Verify change nothing. Restore puts a log into the folder only after it
// has read and checked the whole log, and CreateCluster verifies the log first. A log
// that another process has open is refused. The package decides nothing about stanzas
// and serves no clients.
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
	logFolder    = "log"
	keysFolder   = "nats"
	streamFolder = "stream"

	// serverName is the file in streamFolder with the name of the log server, which
	// package internal/natsserver writes.
	serverName = "ID"
)

// Log returns the folder of the log in a data folder.
func Log(data string) string { return filepath.Join(data, logFolder) }

// Keys returns the folder of the gateways' keys in a data folder. Keys are
// independent of the log, and a restore keeps them.
func Keys(data string) string { return filepath.Join(data, keysFolder) }

// Stream returns the folder in a data folder in which the log server of a cluster
// keeps its data.
func Stream(data string) string { return filepath.Join(data, streamFolder) }

// A Config names a data folder. Dir is required.
type Config struct {
	Dir string
	// Fatal is called if the disk fails and the content of the log is unknown; see
	// eventlog.Config. It must not return.
	Fatal func(reason string)
}

// log returns the configuration for opening the log of the folder.
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
		return nil, fmt.Errorf("the log in %s is in use: stop policyd, and repeat the command; to verify without a stop, make a backup (policyctl backup) and verify that", c.Dir)
	}
	return l, err
}

// A Restored describes the log that a restore has created.
type Restored struct {
	LogID string
	// Origin is the log from which the backup was made, and the position up to which
	// the restored log is equal to it.
	Origin eventlog.Origin
}

// Restore creates the log of a data folder from a backup. It creates the folder if
// needed; a node must not have used the folder. If Restore fails, there is no log in
// the folder.
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

// maxNamed bounds the files that an error names.
const maxNamed = 5

// mayRestore returns an error if a node has used the data folder, because the node's
// records and log belong to another history.
func mayRestore(data string) error {
	names, err := used(data)
	if err != nil || names == "" {
		return err
	}
	return fmt.Errorf("%s is not empty: it has %s in it; restore into a new folder, or move these files away (%s may stay)",
		data, names, keysFolder)
}

// used names the files that a node has left in a data folder; "" if there are none.
// The folder may hold the gateways' keys and the remains of an interrupted restore.
func used(data string) (string, error) {
	list, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the data folder: %w", err)
	}
	var names []string
	for _, e := range list {
		if name := e.Name(); name != keysFolder && name != eventlog.Restoring(logFolder) {
			names = append(names, name)
		}
	}
	if n := len(names) - maxNamed; n > 0 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", n))
	}
	return strings.Join(names, ", "), nil
}
