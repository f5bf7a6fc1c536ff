// Package audit keeps records in a file that only grows: whole lines, one
// behind the other.
//
// A line that was cut off, by a full disk or a kill, never swallows the next
// one: that begins on a line of its own, in this process and in the one after
// it. The file is its owner's alone. It is moved away and opened again to
// rotate it. The package does not know what a line holds.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// A File is an open file of records. Its methods may be called at the same
// time; what each of them writes stays together.
type File struct {
	path string

	// mu guards the file: whole lines, one behind the other.
	mu   sync.Mutex
	file *os.File
	torn bool // the file may end within a line
}

// Open opens the file, or makes it with mode 0600.
func Open(path string) (*File, error) {
	file, torn, err := open(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, file: file, torn: torn}, nil
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

// Record appends a line, which has no end of its own. With durable it is on
// disk when Record returns.
func (f *File) Record(line []byte, durable bool) error {
	text := make([]byte, 0, len(line)+1)
	text = append(append(text, line...), '\n')
	f.mu.Lock()
	defer f.mu.Unlock()
	return appendLines(f.file, &f.torn, text, durable)
}

// Write appends lines, each with its end. It implements io.Writer.
func (f *File) Write(lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := appendLines(f.file, &f.torn, lines, false); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// appendLines appends whole lines to a file that may end within one.
func appendLines(f interface {
	io.Writer
	Sync() error
}, torn *bool, lines []byte, durable bool) error {
	if *torn {
		// Cut off or not, the file ends with a line's end then.
		if _, err := f.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("append a record: %w", err)
		}
	}
	*torn = true
	if _, err := f.Write(lines); err != nil {
		return fmt.Errorf("append a record: %w", err)
	}
	*torn = false
	if durable {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync a record: %w", err)
		}
	}
	return nil
}

// Reopen opens the path again, after the file was moved away. On error the old
// file stays in use.
func (f *File) Reopen() error {
	file, torn, err := open(f.path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	old := f.file
	f.file, f.torn = file, torn
	f.mu.Unlock()
	return old.Close()
}

// Close closes the file; nothing is recorded any more.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
