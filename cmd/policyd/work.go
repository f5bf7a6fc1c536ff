package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// A worker does long work on the log for the admin API: one piece at a time,
// in its Run. It implements server.Worker.
type worker struct {
	events *eventlog.Log
	data   string // no backup goes in here
	logger *slog.Logger
	begun  chan struct{} // has a token when there is new work

	mu  sync.Mutex // guards now
	now api.Work
}

func newWorker(l *eventlog.Log, data string, logger *slog.Logger) *worker {
	return &worker{events: l, data: data, logger: logger, begun: make(chan struct{}, 1), now: api.Work{State: api.WorkNone}}
}

// Start implements server.Worker.
func (w *worker) Start(q api.WorkRequest) (api.Work, error) {
	if q.Kind == api.WorkBackup {
		if err := w.mayWrite(q.Dir); err != nil {
			return api.Work{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.State == api.WorkRunning {
		return api.Work{}, &api.Error{Code: api.CodeBusy, Text: "a " + w.now.Kind + " is under way; try again when it has ended"}
	}
	w.now = api.Work{ID: rand.Text(), Kind: q.Kind, Dir: q.Dir, State: api.WorkRunning, Begun: time.Now().UTC()}
	w.begun <- struct{}{} // there is room: the one before was taken
	return w.now, nil
}

// mayWrite refuses folders that are not plainly named, that a symbolic link is
// on the way to, and those within the node's own.
func (w *worker) mayWrite(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return invalid("folder %q: want an absolute path, without . and ..", dir)
	}
	for part := range parts(dir) {
		info, err := os.Lstat(part)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err := plain(dir, part, info, err); err != nil {
			return err
		}
	}
	data, err := filepath.Abs(w.data)
	if err == nil {
		data, err = filepath.EvalSymlinks(data)
	}
	if err != nil {
		return invalid("folder %q: %v", dir, err)
	}
	if dir == data || strings.HasPrefix(dir, data+string(filepath.Separator)) {
		return invalid("folder %q is within the node's data folder: a backup must outlive that", dir)
	}
	return nil
}

// parts are the folders on the way to an absolute path, and it.
func parts(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for at := 2; at <= len(dir); at++ {
			if (at == len(dir) || dir[at] == filepath.Separator) && !yield(dir[:at]) {
				return
			}
		}
	}
}

// plain refuses a part of the way to dir that is no folder itself.
func plain(dir, part string, info fs.FileInfo, err error) error {
	switch {
	case err != nil:
		return invalid("folder %q: %v", dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return invalid("folder %q: %s is a symbolic link: name the folder it stands for", dir, part)
	case !info.IsDir():
		return invalid("folder %q: %s is no folder", dir, part)
	}
	return nil
}

// makeFolder makes a folder with those above it that are missing, and looks at
// each again: a link that was put there since mayWrite is not followed.
func makeFolder(dir string) error {
	for part := range parts(dir) {
		if err := os.Mkdir(part, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := os.Lstat(part)
		if err := plain(dir, part, info, err); err != nil {
			return err
		}
	}
	return nil
}

// Work implements server.Worker.
func (w *worker) Work() api.Work {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// change changes what is known of the present work.
func (w *worker) change(f func(*api.Work)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.now)
}

// Run does what Start begins, until ctx ends.
func (w *worker) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.begun:
			w.work(ctx)
		}
	}
}

func (w *worker) work(ctx context.Context) {
	q := w.Work()
	progress := func(step string, done, all uint64) {
		w.change(func(now *api.Work) { now.Step, now.Done, now.All = step, done, all })
	}
	position := events.Position(0)
	var err error
	if q.Kind == api.WorkBackup {
		if err = makeFolder(q.Dir); err == nil {
			var b eventlog.Backup
			b, err = w.events.Backup(ctx, q.Dir, progress)
			position = b.Position
		}
	} else {
		head, _ := w.events.Head()
		err = w.events.VerifyEach(ctx, func(c *events.Commit) error {
			position = c.Position
			progress("verifying", uint64(c.Position), uint64(max(head, c.Position)))
			return nil
		})
	}
	took := time.Since(q.Begun)
	if err != nil {
		w.logger.Error("work on the log failed", "kind", q.Kind, "dir", q.Dir, "took", took, "error", err)
		w.change(func(now *api.Work) { now.State, now.Error = api.WorkFailed, fmt.Sprint(err) })
		return
	}
	w.logger.Info("work on the log is done", "kind", q.Kind, "dir", q.Dir, "position", position, "took", took)
	w.change(func(now *api.Work) {
		now.State, now.LogID, now.Position = api.WorkDone, w.events.LogID(), uint64(position)
	})
}
