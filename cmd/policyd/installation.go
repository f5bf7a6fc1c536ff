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

// remains returns the files in the data folder that can only come from an earlier
// installation, as relative paths. A folder with such files and without a log has
// lost its log. An empty log there would end every session and lose every rule.
func (c *config) remains() ([]string, error) {
	var found []string
	for _, r := range []struct{ dir, pattern string }{
		{c.natsDir(), "*.nkey"},
		{c.Data, filepath.Base(c.adminCalls()) + "*"}, // rotated files as well
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

// maxNamed bounds the files that an error names.
const maxNamed = 4

// checkInstallation returns an error if the data folder has lost its log, unless
// init asks for a new installation. With init, it returns an error if there is a
// log. existing reports whether there must be a complete log. This is not so if
// the first start was killed: it may leave an incomplete log, but no other files.
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
		return true, fmt.Errorf("data: %s holds a log, so this is not a new installation: start without --init", c.logDir())
	case there:
		return slices.ContainsFunc(left, func(name string) bool { return filepath.Dir(name) != filepath.Base(c.logDir()) }), nil
	case init || len(left) == 0:
		return false, nil
	}
	named := strings.Join(left[:min(len(left), maxNamed)], ", ")
	if len(left) > maxNamed {
		named += fmt.Sprintf(" and %d more", len(left)-maxNamed)
	}
	return true, fmt.Errorf("data: %s is not a new installation, because it holds %s; but there is no log in %s. "+
		"With an empty log, policyd would end every session and refuse every client. "+
		"If its disk is not mounted, mount it; if the log is lost, restore a backup into a new folder (policyctl restore --from BACKUP --data FOLDER); "+
		"to begin a new installation, without tenants, start once with: policyd --init", c.Data, named, c.logDir())
}

// openError adds the remedy to an error of opening the log.
func (c *config) openError(err error) error {
	if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
		return fmt.Errorf("open the log: it is damaged at position %d, so policyd does not use it. "+
			"See which part is undamaged with: policyctl verify --data %s; then restore a backup into a new folder with: policyctl restore: %w",
			corrupt.Position, c.Data, err)
	}
	if err := c.openBound(err); err != nil {
		return err
	}
	if locked, ok := errors.AsType[*eventlog.LockedError](err); ok {
		who := "another process"
		if locked.Holder != 0 {
			who = fmt.Sprintf("process %d%s", locked.Holder, programOf(locked.Holder))
		}
		return fmt.Errorf("open the log: %s has the data folder %s open; only one policyd at a time may: stop that process, or give this policyd another data folder", who, c.Data)
	}
	if errors.Is(err, eventlog.ErrNoLog) {
		return fmt.Errorf("open the log: %w; move the folder %s away, or restore a backup into a new one with: policyctl restore", err, c.logDir())
	}
	return fmt.Errorf("open the log: %w; for details: policyctl verify --data %s", err, c.Data)
}

// programOf returns the name of a process's program in brackets, or "" if it
// cannot be read (proc(5)).
func programOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(name)) + ")"
}
