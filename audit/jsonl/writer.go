// Package jsonl keeps records of the decisions of a policy node and of the calls of
// its admin API. A Record is one decision. A Writer appends records to a file, as one
// JSON line each.
//
// A full disk or a killed process can leave an incomplete line in the file. The
// Writer ends such a line before it writes the next record, even after a restart.
package jsonl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// A Writer with a reserve checks the free space of the disk again after lookEach,
	// or after it has written lookBytes. So it notices within a second that other
	// processes have filled the disk. Between two checks it writes little more than
	// lookBytes itself. The reserve must be many times as large.
	lookEach  = time.Second
	lookBytes = 1 << 20
)

// Config configures a Writer.
type Config struct {
	// Path is the path of the file.
	Path string
	// Reserve is the number of bytes to leave free on the disk. If fewer are free,
	// the Writer refuses to write. Zero means that it writes until the disk is full.
	Reserve uint64
}

// A Writer appends records to a file that only its owner may read. To rotate the
// file, move it away and call Reopen, which creates a new one. The methods of a
// Writer may be called concurrently. The lines of one call stay together.
//
// When a call returns without an error, it has passed its lines to the operating
// system. They survive the end of the process, but survive a power cut only once the
// system has written them to disk. Lines appended with durable are on disk. After an
// error, some or all of the lines may be in the file. Each later call begins on a new
// line, or fails again.
type Writer struct {
	cfg Config

	mu    sync.Mutex // guards the fields below, so that lines do not mix
	file  file
	torn  bool  // the file may end with an incomplete line
	lines lines // of the records being written

	looked  time.Time // the last check that found enough space; zero: check before writing
	written int       // bytes written since looked
}

// A file is an *os.File, or a file with faults in a test.
type file interface {
	io.WriteCloser
	Sync() error
	// free returns the number of bytes that this process can still write to the
	// disk. It is math.MaxUint64 if the file system does not report a size.
	free() (uint64, error)
}

// diskFile is a file on a real disk.
type diskFile struct{ *os.File }

// Open opens the file, or creates it with mode 0600.
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

// Record appends the lines of records with one write. All records must have the same
// time.
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

// Append appends a line and its newline; line must not hold a newline. With durable,
// the line is on disk when Append returns.
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

// write appends the lines. If the file may end with an incomplete line, it first
// writes a newline.
func (w *Writer) write(now time.Time) error {
	if err := w.room(now); err != nil {
		return err
	}
	if w.torn {
		// If the last line is complete after all, this adds only an empty line.
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			return w.failed(err)
		}
	}
	w.torn = true
	n, err := w.file.Write(w.lines)
	if err != nil {
		w.torn = n > 0 || !nothingWritten(err)
		return w.failed(err)
	}
	w.torn = false
	w.written += len(w.lines)
	return nil
}

// nothingWritten reports whether the error of a write that wrote no byte is certain:
// the file system refused the bytes because there is no room. After any other error,
// such as an I/O error, some bytes may be in the file nevertheless.
func nothingWritten(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// failed wraps an error, and makes the next write check the free space first.
func (w *Writer) failed(err error) error {
	w.looked = time.Time{}
	return fmt.Errorf("append a record: %w", err)
}

// room returns an error if less than the reserve is free. It asks the disk again only
// if the last check is lookEach old, if lookBytes were written since, after a failure,
// or if the clock was set back.
func (w *Writer) room(now time.Time) error {
	since := now.Sub(w.looked)
	if !w.looked.IsZero() && since >= 0 && since < lookEach && w.written < lookBytes {
		return nil
	}
	return w.look(now)
}

// look checks the free space of the disk.
func (w *Writer) look(now time.Time) error {
	if w.cfg.Reserve == 0 {
		return nil
	}
	free, err := w.file.free()
	if err != nil {
		return w.failed(err)
	}
	if free < w.cfg.Reserve {
		return w.failed(fmt.Errorf("the disk of %s is nearly full: %d MiB are free, and %d MiB must stay free", w.cfg.Path, free>>20, w.cfg.Reserve>>20))
	}
	w.looked, w.written = now, 0
	return nil
}

// Ready returns an error if the Writer would refuse to write now, because less than
// the reserve is free. It writes nothing.
func (w *Writer) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.look(time.Now())
}

// Reopen opens the path again, after the file was moved away. If the path cannot be
// opened, the Writer keeps the old file.
func (w *Writer) Reopen() error {
	file, torn, err := open(w.cfg.Path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	old := w.file
	w.file, w.torn, w.looked = diskFile{file}, torn, time.Time{} // the file may be on another disk
	w.mu.Unlock()
	return old.Close()
}

// Close closes the file. Later calls return errors.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}
