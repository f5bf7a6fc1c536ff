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
)

// A Writer appends records to a file that nobody but its owner may read. The
// file may be moved away to rotate it; then Reopen makes a new one. Its methods
// may be called at the same time; the lines of one call stay together.
//
// What a call has written without an error has been handed to the operating
// system: it outlives the process, and a loss of power only once the system
// has written it. A line that Append is to make durable is on disk.
type Writer struct {
	path string

	// mu guards what follows: whole lines, one behind the other.
	mu    sync.Mutex
	file  file
	torn  bool  // the file may end within a line
	lines lines // of the records being written
}

// A file is an *os.File, or its fault in a test.
type file interface {
	io.WriteCloser
	Sync() error
}

// Open opens the file, or makes it with mode 0600.
func Open(path string) (*Writer, error) {
	file, torn, err := open(path)
	if err != nil {
		return nil, err
	}
	return &Writer{path: path, file: file, torn: torn}, nil
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

// Record appends the lines of records, with one write.
func (w *Writer) Record(records []Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = w.lines[:0]
	w.lines.addAll(records)
	return w.write(w.lines)
}

// Append appends a line, which has no end of its own. With durable it is on
// disk when Append returns.
func (w *Writer) Append(line []byte, durable bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(append(w.lines[:0], line...), '\n')
	if err := w.write(w.lines); err != nil {
		return err
	}
	if durable {
		if err := w.file.Sync(); err != nil {
			return fmt.Errorf("sync a record: %w", err)
		}
	}
	return nil
}

// write writes whole lines behind a file that may end within one.
func (w *Writer) write(lines []byte) error {
	if w.torn {
		// Cut off or not, the file ends with a line's end then.
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("append a record: %w", err)
		}
	}
	w.torn = true
	if _, err := w.file.Write(lines); err != nil {
		return fmt.Errorf("append a record: %w", err)
	}
	w.torn = false
	return nil
}

// Reopen opens the path again, after the file was moved away. On error the old
// file stays in use.
func (w *Writer) Reopen() error {
	file, torn, err := open(w.path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	old := w.file
	w.file, w.torn = file, torn
	w.mu.Unlock()
	return old.Close()
}

// Close closes the file; nothing is recorded any more.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}
