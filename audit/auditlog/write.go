package auditlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/internal/headfile"
)

const (
	// maxWaiting is how many groups wait for the committer. More callers block.
	maxWaiting = 512
	// maxBatch bounds the records of one write, so that one sync does not become
	// long.
	maxBatch = 1 << 14
	// maxEntry is about the size at which an entry is full. A full one is far below
	// audit.MaxEntry, because a record has at most some kilobytes.
	maxEntry = 1 << 20
	// lookEach is the time between two looks at the free space, and lookBytes the
	// bytes written between two. So little more than lookBytes of the reserve is used
	// before other processes that fill the disk are noticed.
	lookEach  = time.Second
	lookBytes = 1 << 20
)

// pending is a group that waits. With an erasure, the committer fills the group.
type pending struct {
	group *audit.Group
	erase *erasure
	done  chan error // gets the outcome; has room for it
}

// Append writes the records of a group, and returns when they are durable. It blocks
// while too many groups wait, and until Run runs. The group is not used after Append
// has returned.
//
// After ErrFull, and for a record that is refused, nothing is written. After any other
// error the records may be on disk.
func (l *Log) Append(g *audit.Group) error {
	if len(g.Records) == 0 {
		return nil
	}
	for i := range g.Records {
		if err := g.Records[i].Check(); err != nil {
			return err
		}
	}
	return l.hand(&pending{group: g, done: make(chan error, 1)})
}

// hand hands a group to the committer and waits for the outcome.
func (l *Log) hand(p *pending) error {
	select {
	case <-l.ended: // both may be ready; an ended log must refuse
		return l.refusal()
	default:
	}
	select {
	case l.queue <- p:
	case <-l.ended:
		return l.refusal()
	case <-l.closing:
		return ErrClosed
	}
	select {
	case err := <-p.done:
		return err
	case <-l.ended:
	case <-l.closing: // Run was never called
	}
	select { // the committer may have written it before it ended
	case err := <-p.done:
		return err
	default:
		return l.refusal()
	}
}

func (l *Log) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return ErrFailed
	}
	return ErrClosed
}

// Run writes what Append hands over, makes the index and
// signs checkpoints, until ctx ends or a write
// fails. Groups that were handed over before ctx ended are written. Run must be called
// once.
func (l *Log) Run(ctx context.Context) error {
	var behind sync.WaitGroup
	defer behind.Wait()
	// Both end after the committer, so that the last checkpoint has all entries.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	behind.Go(func() {
		if err := l.sign(running); err != nil {
			l.cfg.Logger.Error("no more checkpoints of the audit log are made", "error", err)
		}
	})
	behind.Go(func() {
		if err := l.index(running); err != nil {
			l.cfg.Logger.Error("the index of the audit log cannot be made: queries read every entry, and are slow", "error", err)
		}
	})
	defer close(l.ended)
	return l.write(ctx)
}

// write is the committer.
func (l *Log) write(ctx context.Context) error {
	var batch []*pending
	var next *pending // taken from the queue, and not in the batch
	for {
		if next == nil {
			select {
			case next = <-l.queue:
			case <-ctx.Done():
				select {
				case next = <-l.queue:
				default:
					return nil
				}
			}
		}
		batch, next = l.gather(append(batch[:0], next))
		err := l.commit(batch)
		for _, p := range batch {
			p.done <- err
		}
		clear(batch)
		if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrUnknownName) {
			return err
		}
	}
}

// gather adds the groups that wait to a batch of one. An erasure is a batch of its own.
// next is a group that was taken and does not fit.
func (l *Log) gather(batch []*pending) (all []*pending, next *pending) {
	if batch[0].erase != nil {
		return batch, nil
	}
	for records := len(batch[0].group.Records); records < maxBatch; {
		select {
		case p := <-l.queue:
			if p.erase != nil {
				return batch, p
			}
			batch = append(batch, p)
			records += len(p.group.Records)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// commit writes the groups with one sync.
func (l *Log) commit(batch []*pending) error {
	w := &l.writer
	if err := w.room(); err != nil {
		return err
	}
	l.mu.Lock()
	l.failed = true // until the write has succeeded
	h := l.head
	l.mu.Unlock()
	next, err := w.write(h, batch)
	if err != nil && !errors.Is(err, ErrUnknownName) {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = false
	if err != nil {
		return err
	}
	l.head = next
	close(l.moved)
	l.moved = make(chan struct{})
	return nil
}

// A writer is the committer's state.
type writer struct {
	log       *Log
	highWater *headfile.File
	edge      *edge
	numbers   numbers
	// entries are the entries of the write in progress, in the order of their first
	// record. spare are Builders for reuse.
	entries []*entry
	opened  map[entryKey]*entry
	spare   []*audit.Builder
	err     error // the first error while an entry is built
	current *entry
	batch   *pebble.Batch
	buffer  []byte

	looked  time.Time // the last look at the free space that found enough
	written uint64    // bytes since then
}

// An entry is an entry being built.
type entry struct{ builder *audit.Builder }

// An entryKey names the records that may share an entry.
type entryKey struct {
	tenant, logID    string
	position         uint64
	table, describer uint64
}

// open prepares a writer for a log that was read.
func (w *writer) open(l *Log, e *edge) (err error) {
	w.log, w.edge = l, e
	w.numbers = numbers{db: l.db, last: l.head.names}
	w.opened = map[entryKey]*entry{}
	w.highWater, err = headfile.Open(l.cfg.FS, l.cfg.FS.PathJoin(l.cfg.Dir, highWaterName))
	if err != nil {
		return err
	}
	err = w.highWater.Write(l.id, headfile.Head{Number: l.head.leaves, Hash: l.head.root})
	return errors.Join(err, w.highWater.Sync())
}

func (w *writer) close() error {
	if w.highWater == nil {
		return nil
	}
	return w.highWater.Close()
}

// write makes the entries and writes them. After an error other than ErrUnknownName the
// log must not be used.
func (w *writer) write(h head, groups []*pending) (head, error) {
	w.batch = w.log.db.NewBatch()
	defer func() {
		w.batch.Close()
		w.batch = nil
	}()
	w.entries = w.entries[:0]
	clear(w.opened)
	w.numbers.erased = ""
	for _, p := range groups {
		if p.erase != nil {
			if err := w.erase(p); err != nil {
				return h, err
			}
		}
		h.time = max(h.time, p.group.At.UnixMicro())
		for i := range p.group.Records {
			if err := w.add(p.group, &p.group.Records[i], h.time); err != nil {
				return h, err
			}
		}
	}
	for _, e := range w.entries {
		if err := w.seal(e); err != nil {
			return h, err
		}
	}
	h.leaves, h.root, h.names = w.edge.leaves, w.edge.root(), w.numbers.last
	if err := w.batch.Set([]byte(keyHead), encodeHead(h), nil); err != nil {
		return h, err
	}
	w.written += uint64(w.batch.Len())
	if err := w.batch.Commit(pebble.Sync); err != nil {
		return h, err
	}
	return h, w.highWater.Write(w.log.id, headfile.Head{Number: h.leaves, Hash: h.root})
}

// add adds a record to the open entry of its tenant and state, or begins one.
func (w *writer) add(g *audit.Group, r *audit.Record, at int64) error {
	k := entryKey{string(r.Tenant), g.LogID, g.Position, g.Table, g.Describer}
	e := w.opened[k]
	if e == nil || e.builder.Records() >= audit.MaxRecords || e.builder.Size() >= maxEntry {
		e = &entry{builder: w.builder()}
		e.builder.Reset(r.Tenant, g)
		w.opened[k] = e
		w.entries = append(w.entries, e)
	}
	w.current = e
	e.builder.Add(r, at)
	return w.err
}

// builder returns a Builder, which is used again after seal.
func (w *writer) builder() *audit.Builder {
	if n := len(w.spare); n > 0 {
		b := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return b
	}
	return audit.NewBuilder(w.number)
}

// number returns the number of a name in the current entry. The entry that uses a
// name first introduces it.
func (w *writer) number(kind audit.NameKind, text []byte) uint64 {
	n, err := w.numbers.find(audit.Name{Kind: kind, Text: text}, func(n newName) error {
		w.current.builder.Introduce(audit.Introduction{Number: n.number, Commitment: n.name.Commit(n.salt)})
		w.buffer = appendKeyOf(w.buffer[:0], kind, text)
		return errors.Join(
			w.batch.Set(key(prefixName, n.number), encodeName(n), nil),
			w.batch.Set(w.buffer, key("", n.number), nil),
		)
	})
	if err != nil && w.err == nil {
		w.err = err
	}
	return n
}

// seal adds an entry to the batch and to the tree.
func (w *writer) seal(e *entry) error {
	leaf := w.edge.leaves
	w.buffer = e.builder.AppendEntry(append(w.buffer[:0], present))
	w.spare = append(w.spare, e.builder)
	if len(w.buffer) > audit.MaxEntry {
		return fmt.Errorf("an entry of %d bytes", len(w.buffer))
	}
	if err := w.batch.Set(key(prefixEntry, leaf), w.buffer, nil); err != nil {
		return err
	}
	var err error
	w.edge.add(tlog.RecordHash(w.buffer[1:]), func(level int, n int64, h tlog.Hash) {
		if level >= treeLevel {
			index := tlog.StoredHashIndex(level, n)
			err = errors.Join(err, w.batch.Set(key(prefixHash, uint64(index)), h[:], nil))
		}
	})
	return err
}

// room returns ErrFull if there is no room for records. It looks at the disk each
// second, and after lookBytes.
func (w *writer) room() error {
	c := &w.log.cfg
	now := c.Now()
	since := now.Sub(w.looked)
	if !w.looked.IsZero() && since >= 0 && since < lookEach && w.written < lookBytes {
		return nil
	}
	w.looked = time.Time{}
	if c.Budget > 0 {
		if used := w.log.db.Metrics().DiskSpaceUsage(); used >= c.Budget {
			return fmt.Errorf("%w: the audit log takes %d MiB, and its budget is %d MiB", ErrFull, used>>20, c.Budget>>20)
		}
	}
	if c.Reserve > 0 && c.Free != nil {
		free, err := c.Free()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		if free < c.Reserve {
			return fmt.Errorf("%w: %d MiB are free on the disk of %s, and %d MiB must stay free", ErrFull, free>>20, c.Dir, c.Reserve>>20)
		}
	}
	w.looked, w.written = now, 0
	return nil
}
