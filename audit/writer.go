// Package audit is what is kept of the decisions of a policy node and of the
// calls of its administrators: Record says what a record holds, and Writer puts
// records into a file that only grows, one JSON line each.
//
// A line that was cut off, by a full disk or a kill, never spoils the next one:
// that begins on a line of its own, in this process and in the one after it.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// lookEach and lookBytes are how long, and for how many bytes, a Writer with
	// a reserve writes before it looks again how much of the disk is free. What
	// others write, it learns within a second; its own records cannot use up a
	// reserve of many times lookBytes in between.
	lookEach  = time.Second
	lookBytes = 1 << 20
)

// Config says where records are kept.
type Config struct {
	// Path is the file.
	Path string
	// Reserve is how many bytes of its disk are left free: when fewer are,
	// nothing is recorded. Zero writes until the disk is full.
	Reserve uint64
}

// A Writer appends records to a file that nobody but its owner may read. The
// file may be moved away to rotate it; then Reopen makes a new one. Its methods
// may be called at the same time; the lines of one call stay together.
//
// What a call has written without an error has been handed to the operating
// system: it outlives the process, and a loss of power only once the system
// has written it. A line that Append is to make durable is on disk. After an
// error any part of the lines may be in the file, all of them included; each
// later call writes whole lines behind that, or fails again.
type Writer struct {
	cfg Config

	// mu guards what follows: whole lines, one behind the other.
	mu    sync.Mutex
	file  file
	torn  bool  // the file may end within a line
	lines lines // of the records being written

	looked  time.Time // when there was room; zero: it is to be looked for
	written int       // bytes since then
}

// A file is an *os.File, or in a test one with faults.
type file interface {
	io.WriteCloser
	Sync() error
	// free is how many bytes of the disk are free for this process; all there
	// can be where the file system does not tell.
	free() (uint64, error)
}

// diskFile is a file.
type diskFile struct{ *os.File }

// Open opens the file, or makes it with mode 0600.
func Open(c Config) (*Writer, error) {
	file, torn, err := open(c.Path)
	if err != nil {
		return nil, err
	}
	return &Writer{cfg: c, file: diskFile{file}, torn: torn}, nil
}

func open(path string) (file *os.File, torn bool, err error) {
	if file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, false, fmt.Errorf("open records: %w", err)
	}
	var last [1]byte
	info, err := file.Stat()
	if err == nil && info.Size() > 0 {
		_, err = file.ReadAt(last[:], info.Size()-1)
		torn = last[0] != '\n'
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("open records: %w", err), file.Close())
	}
	return file, torn, nil
}

// Record appends the lines of records of one time, with one write.
func (w *Writer) Record(records []Record) error {
	if len(records) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = w.lines[:0]
	w.lines.addAll(records)
	return w.write(records[0].Time)
}

// Append appends a line, which has no end of its own. With durable it is on
// disk when Append returns.
func (w *Writer) Append(line []byte, durable bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(append(w.lines[:0], line...), '\n')
	if err := w.write(time.Now()); err != nil {
		return err
	}
	if durable {
		if err := w.file.Sync(); err != nil {
			return fmt.Errorf("sync a record: %w", err)
		}
	}
	return nil
}

// write writes the lines behind a file that may end within one.
func (w *Writer) write(now time.Time) error {
	if err := w.room(now); err != nil {
		return err
	}
	if w.torn {
		// Cut off or not, the file ends with a line's end then.
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			return w.failed(err)
		}
	}
	w.torn = true
	if _, err := w.file.Write(w.lines); err != nil {
		return w.failed(err)
	}
	w.torn = false
	w.written += len(w.lines)
	return nil
}

// failed makes the next write look for room first.
func (w *Writer) failed(err error) error {
	w.looked = time.Time{}
	return fmt.Errorf("append a record: %w", err)
}

// room refuses to write into the reserve.
func (w *Writer) room(now time.Time) error {
	since := now.Sub(w.looked)
	if w.cfg.Reserve == 0 || !w.looked.IsZero() && since >= 0 && since < lookEach && w.written < lookBytes {
		return nil
	}
	free, err := w.file.free()
	if err != nil {
		return w.failed(err)
	}
	if free < w.cfg.Reserve {
		return w.failed(fmt.Errorf("the disk of %s is nearly full: %d MiB are free, and records need %d MiB", w.cfg.Path, free>>20, w.cfg.Reserve>>20))
	}
	w.looked, w.written = now, 0
	return nil
}

// Reopen opens the path again, after the file was moved away. On error the old
// file stays in use.
func (w *Writer) Reopen() error {
	file, torn, err := open(w.cfg.Path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	old := w.file
	w.file, w.torn, w.looked = diskFile{file}, torn, time.Time{} // it may be another disk
	w.mu.Unlock()
	return old.Close()
}

// Close closes the file; nothing is recorded any more.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}
