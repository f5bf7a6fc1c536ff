package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"hash"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// A snapshotReader reads a snapshot's chunks.
type snapshotReader struct {
	ctx      context.Context // of the Snapshot call
	log      *Log
	iter     *pebble.Iterator
	manifest manifest
	chunk    []byte // the unread part of the current chunk
	chunks   uint32
	length   uint64
	sum      hash.Hash
	err      error
}

func (r *snapshotReader) Read(b []byte) (int, error) {
	for len(r.chunk) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(b, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// next reads the next chunk.
func (r *snapshotReader) next() error {
	if err := r.log.interrupted(r.ctx); err != nil {
		return err
	}
	left := min(r.manifest.length-r.length, chunkSize) // the next chunk's share of the content
	if left == 0 {
		if !bytes.Equal(r.sum.Sum(nil), r.manifest.sum[:]) {
			return errChunks
		}
		return io.EOF
	}
	// Seek, because a step could read the data after the last chunk.
	key := keyChunk(r.manifest.of.position, r.chunks)
	if !r.iter.SeekGE([]byte(key)) {
		return cmp.Or(r.iter.Error(), errChunks)
	}
	if string(r.iter.Key()) != key {
		return errChunks
	}
	value, err := r.iter.ValueAndErr()
	if err != nil {
		return err
	}
	if uint64(len(value)) != max(left, minChunk) {
		return errChunks
	}
	r.chunk = value[:left]
	r.chunks++
	r.length += left
	r.sum.Write(r.chunk)
	return nil
}

// Close closes the reader. The log's Close waits for this.
func (r *snapshotReader) Close() error {
	if r.iter == nil {
		return nil
	}
	err := r.iter.Close()
	r.iter, r.chunk, r.err = nil, nil, cmp.Or(r.err, events.ErrClosed)
	r.log.users.Done()
	return err
}
