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

// A worker runs long work on the log for the admin API, such as a backup. Run does
// one piece of work at a time. It implements server.Worker.
type worker struct {
	events *eventlog.Log
	data   string // the data folder, where no backup may be written
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
	w.begun <- struct{}{} // does not block: Run has received the previous token
	return w.now, nil
}

// mayWrite returns an error unless a backup may be written to dir. dir must be a
// clean absolute path, without symbolic links, and outside the data folder.
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
		return invalid("folder %q is within the node's data folder: keep a backup elsewhere, so that it is not lost with the data", dir)
	}
	return nil
}

// parts returns the folders on the way to an absolute path, and the path itself.
func parts(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for at := 2; at <= len(dir); at++ {
			if (at == len(dir) || dir[at] == filepath.Separator) && !yield(dir[:at]) {
				return
			}
		}
	}
}

// plain returns an error unless part, a folder on the way to dir, is a folder and
// not a symbolic link.
func plain(dir, part string, info fs.FileInfo, err error) error {
	switch {
	case err != nil:
		return invalid("folder %q: %v", dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return invalid("folder %q: %s is a symbolic link: name the folder to which it links", dir, part)
	case !info.IsDir():
		return invalid("folder %q: %s is not a folder", dir, part)
	}
	return nil
}

// makeFolder creates a folder and its missing parents. It checks each of them
// again, so that it does not follow a symbolic link created since mayWrite.
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

// change changes the state of the current work.
func (w *worker) change(f func(*api.Work)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.now)
}

// Run does the work that Start begins, until ctx is done.
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
