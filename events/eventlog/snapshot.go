package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/internal/pebbledb"
)

// A snapshot is a state that the log's owner has built from the commits up to a
// position. With it, the owner's next start need not read these commits. The log
// does not interpret it. It is stored in chunks of bounded size, and each chunk is
// made durable before the next one is accepted, so that an append waits for at
// most one chunk. The manifest is written last; without it there is no
// snapshot.
const (
	// chunkSize bounds the memory for writing and reading a snapshot, and the
	// amount of data that an append may have to wait for.
	chunkSize = 256 << 10

	// minChunk is the minimum size of a stored chunk; shorter ones are padded
	// with zeros. Chunks sort before all other keys and are at least as large
	// as one of Pebble's blocks, so no block holds a chunk and anything else.
	// Therefore damage to a chunk never makes manifests, records and other
	// snapshots unreadable.
	minChunk = pebbledb.BlockSize

	// keptSnapshots is how many snapshots are kept: the newest, and an older one in
	// case the newest is damaged.
	keptSnapshots = 2

	// manifestVersion is a manifest's first byte. Older manifests are skipped.
	manifestVersion = 2

	manifestSize = 1 + logIDLength + 8 + 32 + 8 + sha256.Size + sha256.Size
)

var (
	errManifest = errors.New("its manifest is damaged, or of another version")
	errForeign  = errors.New("it is of another history")
	errChunks   = errors.New("its content is damaged")
)

// A manifest describes a snapshot: its position and its content.
type manifest struct {
	logID  string
	of     head // its position, and the hash of the record there
	length uint64
	sum    [32]byte // SHA-256 of the content
}

func (m *manifest) encode() []byte {
	b := append([]byte{manifestVersion}, m.logID...)
	b = append(b, encodeHead(m.of)...)
	b = binary.BigEndian.AppendUint64(b, m.length)
	b = append(b, m.sum[:]...)
	own := sha256.Sum256(b)
	return append(b, own[:]...)
}

func decodeManifest(b []byte) (m manifest, err error) {
	const body = manifestSize - sha256.Size
	if len(b) != manifestSize || b[0] != manifestVersion {
		return m, errManifest
	}
	if own := sha256.Sum256(b[:body]); !bytes.Equal(own[:], b[body:]) {
		return m, errManifest
	}
	b = b[1:]
	m.logID, b = string(b[:logIDLength]), b[logIDLength:]
	if m.of, err = decodeHead(b[:8+32]); err != nil {
		return m, err
	}
	m.length = binary.BigEndian.Uint64(b[8+32:])
	copy(m.sum[:], b[8+32+8:])
	return m, nil
}

// WriteSnapshot stores the bytes that write writes as the snapshot at a
// position of the log, replacing an earlier one there. When it returns nil, the
// snapshot is durable and whole, and only the newest of the other snapshots is
// left. An error leaves no new snapshot, and the snapshots at other positions
// unchanged; an earlier one at this position may be deleted. events.ErrNoRoom
// means that the disk is nearly full. The earlier snapshot at this position is
// then deleted too, because the owner may be replacing a wrong snapshot; but it
// stays if even an append would have no room. Appends continue meanwhile; only one
// snapshot is written at a time. An error of write is returned unchanged.
func (l *Log) WriteSnapshot(ctx context.Context, at events.Position, write func(io.Writer) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	// A snapshot holds durable commits only, so that no start finds a snapshot past
	// its log.
	if err := l.Settle(ctx); err != nil {
		return err
	}
	select {
	case l.snapshotting <- struct{}{}:
		defer func() { <-l.snapshotting }()
	case <-l.closing:
		return events.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	switch h := l.visible(); {
	case l.readOnly:
		return fmt.Errorf("eventlog: snapshot at %d: %w", at, errReadOnly)
	case at == 0 || at > h.position:
		return fmt.Errorf("eventlog: snapshot at %d, the head is at %d: %w", at, h.position, events.ErrNoSuchPosition)
	}
	hash, err := l.hashAt(at)
	if err != nil {
		return err
	}
	// The old snapshot is deleted first. This makes room, and deletes a wrong
	// snapshot even if there is no room for the new one.
	if err := l.dropSnapshot(at); err != nil {
		return fmt.Errorf("eventlog: snapshot at %d: %w", at, err)
	}
	if err := l.room(0, SnapshotReserve); err != nil {
		return fmt.Errorf("eventlog: snapshot at %d: %w", at, err)
	}
	if err := l.writeSnapshot(ctx, head{at, hash}, write); err != nil {
		if left := l.dropSnapshot(at); left != nil {
			l.logger.Warn("event log: the chunks of an unfinished snapshot stay until the next snapshot", "position", at, "reason", left)
		}
		return err
	}
	return nil
}

// writeSnapshot writes the chunks and the manifest of a snapshot. After an error
// there is no manifest, but chunks may be left.
func (l *Log) writeSnapshot(ctx context.Context, of head, write func(io.Writer) error) error {
	w := &chunkWriter{ctx: ctx, log: l, at: of.position, sum: sha256.New()}
	if err := write(w); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	m := manifest{logID: l.LogID(), of: of, length: w.length, sum: [32]byte(w.sum.Sum(nil))}
	if err := l.keepSnapshot(m); err != nil {
		return fmt.Errorf("eventlog: snapshot at %d: %w", of.position, err)
	}
	return nil
}

// A chunkWriter stores the bytes written to it as chunks of a snapshot.
type chunkWriter struct {
	ctx    context.Context // of the one call that it is made for
	log    *Log
	at     events.Position
	buffer []byte
	chunks uint32
	length uint64
	sum    hash.Hash
}

func (w *chunkWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if w.buffer == nil {
			w.buffer = make([]byte, 0, chunkSize)
		}
		part := b[:min(len(b), chunkSize-len(w.buffer))]
		w.buffer = append(w.buffer, part...)
		if len(w.buffer) == chunkSize {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

// flush stores the buffer as the next chunk.
func (w *chunkWriter) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	if err := w.log.interrupted(w.ctx); err != nil {
		return err
	}
	if err := w.log.room(uint64(len(w.buffer)), SnapshotReserve); err != nil {
		return fmt.Errorf("eventlog: snapshot at %d, chunk %d: %w", w.at, w.chunks, err)
	}
	w.length += uint64(len(w.buffer))
	w.sum.Write(w.buffer)
	if short := minChunk - len(w.buffer); short > 0 {
		w.buffer = append(w.buffer, make([]byte, short)...)
	}
	if err := w.log.db.Set([]byte(keyChunk(w.at, w.chunks)), w.buffer, pebble.Sync); err != nil {
		return fmt.Errorf("eventlog: snapshot at %d, chunk %d: %w", w.at, w.chunks, err)
	}
	w.chunks++
	w.buffer = w.buffer[:0]
	return nil
}

// dropSnapshot deletes the snapshot at a position, and all chunks without a
// manifest, which a kill or a failed deletion may have left anywhere. It writes
// a few bytes, so it leaves the space free that an append leaves.
func (l *Log) dropSnapshot(at events.Position) error {
	if err := l.room(0, AppendReserve); err != nil {
		return err
	}
	list, err := l.snapshots()
	if err != nil {
		return err
	}
	var kept []events.Position
	for _, s := range list { // damaged ones too; keepSnapshot decides about them
		if s.at != at && s.at <= l.visible().position {
			kept = append(kept, s.at)
		}
	}
	b := l.db.NewBatch()
	defer b.Close()
	if err := deleteSnapshots(b, kept...); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.corrupt, at)
	return nil
}

// keepSnapshot writes a manifest and, in the same batch, deletes everything
// else except the newest of the other snapshots that look good.
func (l *Log) keepSnapshot(m manifest) error {
	list, err := l.snapshots()
	if err != nil {
		return err
	}
	kept := []events.Position{m.of.position}
	for _, s := range list { // the newest first
		if s.err == nil && s.at != m.of.position && len(kept) < keptSnapshots {
			kept = append(kept, s.at)
		}
	}
	b := l.db.NewBatch()
	defer b.Close()
	if err := deleteSnapshots(b, kept...); err != nil {
		return err
	}
	if err := b.Set([]byte(keySnapshot(m.of.position)), m.encode(), nil); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// deleteSnapshots adds to a batch the deletion of all snapshots except the kept
// ones.
func deleteSnapshots(b *pebble.Batch, kept ...events.Position) error {
	slices.Sort(kept)
	for _, prefix := range []string{prefixSnapshot, prefixChunk} {
		begin := prefix // the keys before begin are kept or deleted already
		for _, p := range kept {
			if err := b.DeleteRange([]byte(begin), []byte(prefix+u64(uint64(p))), nil); err != nil {
				return err
			}
			begin = prefix + u64(uint64(p+1))
		}
		if err := b.DeleteRange([]byte(begin), after(prefix), nil); err != nil {
			return err
		}
	}
	return nil
}

// A found is a snapshot's manifest, or the reason why it cannot be used.
type found struct {
	at events.Position
	manifest
	err error
}

// snapshots lists the manifests, the newest first. It seeks from one to the
// next and never reads the content, which may be damaged. The list shows the log at
// one moment, so writing a snapshot at the same time cannot make an entry wrong.
func (l *Log) snapshots() ([]found, error) {
	reader := l.db.NewSnapshot()
	list, err := l.manifests(reader)
	return list, cmp.Or(err, reader.Close())
}

func (l *Log) manifests(reader pebble.Reader) ([]found, error) {
	iter, err := reader.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixSnapshot), UpperBound: after(prefixSnapshot)})
	if err != nil {
		return nil, err
	}
	var list []found
	for valid := iter.Last(); valid; {
		key := iter.Key()
		if len(key) < len(prefixSnapshot)+8 {
			valid = iter.Prev() // not a manifest's key
			continue
		}
		at := events.Position(binary.BigEndian.Uint64(key[len(prefixSnapshot):]))
		list = append(list, l.look(reader, at))
		valid = iter.SeekLT([]byte(keySnapshot(at)))
	}
	return list, cmp.Or(iter.Error(), iter.Close())
}

// look reads the manifest at a position and checks it against the log.
func (l *Log) look(reader pebble.Reader, at events.Position) found {
	f := found{at: at}
	var have bool
	var b []byte
	b, have, f.err = get(reader, keySnapshot(at))
	if f.err == nil && !have {
		f.err = errManifest
	}
	if f.err != nil {
		return f
	}
	if f.manifest, f.err = decodeManifest(b); f.err != nil {
		return f
	}
	if f.logID != l.LogID() || f.of.position != at || at > l.visible().position {
		f.err = errForeign
		return f
	}
	hash, err := l.hashAt(at)
	switch {
	case err == nil && hash != f.of.hash:
		err = errForeign
	case err == nil && l.isCorrupt(at):
		err = errChunks
	}
	f.err = err
	return f
}

func (l *Log) isCorrupt(at events.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.corrupt[at]
}

// Snapshot returns the newest usable snapshot at or before a position, and its
// position. A usable snapshot belongs to this log's own history, and its
// content has been read once and is undamaged. Others are skipped, and the
// reason is logged. found is false if none is usable. An unusable snapshot is no
// error; err reports other failures. The caller must close r; the log's Close waits
// until r is closed.
func (l *Log) Snapshot(ctx context.Context, atMost events.Position) (at events.Position, r io.ReadCloser, found bool, err error) {
	if err := l.use(); err != nil {
		return 0, nil, false, err
	}
	defer l.users.Done()
	list, err := l.snapshots()
	if err != nil {
		return 0, nil, false, fmt.Errorf("eventlog: look for a snapshot: %w", err)
	}
	for _, s := range list {
		if s.at > atMost {
			continue
		}
		if s.err == nil {
			s.err = l.checkSnapshot(ctx, s.manifest)
			if err := l.interrupted(ctx); err != nil {
				return 0, nil, false, err
			}
			if s.err != nil {
				l.markCorrupt(s.at)
			}
		}
		if s.err != nil {
			l.logger.Warn("event log: a snapshot is skipped", "position", s.at, "reason", s.err)
			continue
		}
		r, err := l.openSnapshot(ctx, s.manifest)
		return s.at, r, err == nil, err
	}
	return 0, nil, false, nil
}

// markCorrupt marks a snapshot as damaged, so that the next snapshot replaces it
// and not a good one before it.
func (l *Log) markCorrupt(at events.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.corrupt[at] = true
}

// Snapshots returns the positions of the snapshots that look good, the newest
// first. While a snapshot is written again at the same position, it is missing.
func (l *Log) Snapshots() ([]events.Position, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.users.Done()
	list, err := l.snapshots()
	if err != nil {
		return nil, fmt.Errorf("eventlog: look for snapshots: %w", err)
	}
	var good []events.Position
	for _, s := range list {
		if s.err == nil {
			good = append(good, s.at)
		}
	}
	return good, nil
}

// checkSnapshot reads a snapshot's content once and compares it with the
// manifest.
func (l *Log) checkSnapshot(ctx context.Context, m manifest) error {
	r, err := l.openSnapshot(ctx, m)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// openSnapshot opens the content of a snapshot. Reading ends with io.EOF only
// if the whole content matches the manifest.
func (l *Log) openSnapshot(ctx context.Context, m manifest) (*snapshotReader, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	iter, err := l.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(chunksAt(m.of.position)),
		UpperBound: []byte(chunksAt(m.of.position + 1)),
	})
	if err != nil {
		l.users.Done()
		return nil, err
	}
	return &snapshotReader{ctx: ctx, log: l, iter: iter, manifest: m, sum: sha256.New()}, nil
}

// hashAt returns the hash of the record at a position.
func (l *Log) hashAt(p events.Position) ([32]byte, error) {
	record, found, err := l.get(keyCommit(p))
	if err != nil {
		return [32]byte{}, unreadable(p, err)
	}
	if !found {
		return [32]byte{}, unreadable(p, errGap)
	}
	return events.Hash(record), nil
}
