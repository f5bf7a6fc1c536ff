package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// remains are the files that only an earlier installation has left in the data
// folder, relative to it. A folder that holds any and no log has lost its log:
// to begin an empty one there would end every session and forget every rule.
func (c *config) remains() ([]string, error) {
	var found []string
	for _, r := range []struct{ dir, pattern string }{
		{c.natsDir(), "*.nkey"},
		{c.Data, filepath.Base(c.adminCalls()) + "*"}, // with those that were rotated away
		{c.Data, filepath.Base(c.journal()) + "*"},
		{c.logDir(), "*.sst"},
		{c.logDir(), "*.log"},
		{c.logDir(), "HIGHWATER"},
		{c.logDir(), "WITNESS"}, // the name of HIGHWATER in earlier versions
	} {
		files, err := os.ReadDir(r.dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			ok, err := filepath.Match(r.pattern, f.Name())
			if err != nil {
				return nil, err
			}
			if rel, err := filepath.Rel(c.Data, filepath.Join(r.dir, f.Name())); ok && err == nil {
				found = append(found, rel)
			}
		}
	}
	return found, nil
}

// maxNamed bounds the files an error names.
const maxNamed = 4

// checkInstallation refuses a data folder that has lost its log, unless init
// says that a new one is meant; and with init, one that has a log. It reports
// whether the log must be whole already: a first start that was killed may have
// left half of one, but nothing else.
func (c *config) checkInstallation(init bool) (existing bool, err error) {
	there, err := eventlog.Exists(c.logDir(), nil)
	if err != nil {
		return false, fmt.Errorf("data: look for the log: %w", err)
	}
	left, err := c.remains()
	if err != nil {
		return false, fmt.Errorf("data: %w", err)
	}
	switch {
	case there && init:
		return true, fmt.Errorf("data: %s holds a log, so this is no new installation: start without --init", c.logDir())
	case there:
		return slices.ContainsFunc(left, func(name string) bool { return filepath.Dir(name) != filepath.Base(c.logDir()) }), nil
	case init || len(left) == 0:
		return false, nil
	}
	named := strings.Join(left[:min(len(left), maxNamed)], ", ")
	if len(left) > maxNamed {
		named += fmt.Sprintf(" and %d more", len(left)-maxNamed)
	}
	return true, fmt.Errorf("data: %s is no new installation, for it holds %s; but there is no log in %s. "+
		"With an empty log every session would be ended and nobody served. "+
		"If its disk is not mounted, mount it; if the log is lost, restore a backup into a new folder (policyctl restore --from BACKUP --data FOLDER); "+
		"to begin anew, without tenants, start once with: policyd --init", c.Data, named, c.logDir())
}

// openError says what to do about a log that does not open.
func (c *config) openError(err error) error {
	if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
		return fmt.Errorf("open the log: it is damaged at position %d; nothing is decided by it. "+
			"See how far it is good with: policyctl verify --data %s; then restore a backup into a new folder with: policyctl restore: %w",
			corrupt.Position, c.Data, err)
	}
	if locked, ok := errors.AsType[*eventlog.LockedError](err); ok {
		who := "another process"
		if locked.Holder != 0 {
			who = fmt.Sprintf("process %d%s", locked.Holder, programOf(locked.Holder))
		}
		return fmt.Errorf("open the log: %s has the data folder %s open; one policyd at a time may: stop that one, or give this one a data folder of its own", who, c.Data)
	}
	if errors.Is(err, eventlog.ErrNoLog) {
		return fmt.Errorf("open the log: %w; move the folder %s away, or restore a backup into a new one with: policyctl restore", err, c.logDir())
	}
	return fmt.Errorf("open the log: %w; policyctl verify --data %s says more", err, c.Data)
}

// programOf is the name of a process's program, in brackets, as far as it may
// be known (proc(5)).
func programOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(name)) + ")"
}
