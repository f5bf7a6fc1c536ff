// Package headfile keeps the newest head of a log in a file beside its database.
//
// Pebble treats damage at the end of its write-ahead log as an unfinished write, and
// silently drops the data there. The rest is a good log, so only a second place can
// show the loss. The file is written after a write is durable, and is not synced each
// time; a write costs microseconds. So it is never ahead of the durable log, and it is
// behind only after a power cut. It has two places, which are written in turn, so that
// a failed write leaves the other one intact.
package headfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// placeStep puts the places on different pages of any disk.
	placeStep = 4096
	// IDLength is the length of a log's id.
	IDLength = 32
	// A place holds the log id, number and hash, and their SHA-256.
	body = IDLength + 8 + 32
	size = body + sha256.Size
)

// A Head is how far a log reaches, and the hash of all of it.
type Head struct {
	Number uint64
	Hash   [32]byte
}

// A File is an open head file. Its methods must not be called concurrently.
type File struct {
	file vfs.File
	next int64 // offset of the place to write next
}

// Read reads the newest head of a file, and the id of the log that wrote it. A file
// that is missing or empty has no id. Damage is an error, unless one place is intact.
func Read(fsys vfs.FS, path string) (id string, h Head, err error) {
	id, h, _, err = read(fsys, path)
	return id, h, err
}

func read(fsys vfs.FS, path string) (id string, h Head, next int64, err error) {
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", Head{}, 0, nil
	}
	if err != nil {
		return "", Head{}, 0, err
	}
	all, err := io.ReadAll(io.LimitReader(f, placeStep+size))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", Head{}, 0, err
	}
	if len(all) == 0 {
		return "", Head{}, 0, nil // it was being created; nothing had been written by then
	}
	for at := int64(0); at < 2*placeStep; at += placeStep {
		b := all[min(at, int64(len(all))):]
		if len(b) < size {
			continue
		}
		sum := sha256.Sum256(b[:body])
		if !bytes.Equal(sum[:], b[body:size]) {
			continue
		}
		this := string(b[:IDLength])
		if id != "" && id != this {
			return "", Head{}, 0, fmt.Errorf("%s is damaged: its two places belong to different logs", path)
		}
		head := Head{Number: binary.BigEndian.Uint64(b[IDLength:])}
		copy(head.Hash[:], b[IDLength+8:])
		if id == "" || head.Number > h.Number {
			h, next = head, placeStep-at
		}
		id = this
	}
	if id == "" {
		return "", Head{}, 0, fmt.Errorf("%s is damaged", path)
	}
	return id, h, next, nil
}

// Open opens a file for writing, or creates it.
func Open(fsys vfs.FS, path string) (*File, error) {
	_, _, next, err := read(fsys, path)
	if err != nil {
		return nil, err
	}
	file, err := fsys.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &File{file: file, next: next}, nil
}

// Write writes a head into the place with the older one.
func (f *File) Write(id string, h Head) error {
	if len(id) != IDLength {
		return fmt.Errorf("a log id of %d bytes", len(id))
	}
	b := append([]byte(id), make([]byte, 8)...)
	binary.BigEndian.PutUint64(b[IDLength:], h.Number)
	b = append(b, h.Hash[:]...)
	sum := sha256.Sum256(b)
	if _, err := f.file.WriteAt(append(b, sum[:]...), f.next); err != nil {
		return err
	}
	f.next = placeStep - f.next
	return nil
}

// Sync makes what was written durable.
func (f *File) Sync() error { return f.file.Sync() }

// Close makes the last head durable and closes the file.
func (f *File) Close() error { return errors.Join(f.file.Sync(), f.file.Close()) }
