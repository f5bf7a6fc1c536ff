package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// A log that is bound to a generation of a cluster takes commits only in the order
// of that cluster, by Ingest. The binding is in the log itself, so that a
// stand-alone node cannot open the log and append a commit that the cluster does
// not know.

var (
	errBound     = errors.New("the log is bound to a cluster and takes commits only from its order")
	errUnbound   = errors.New("the log is not bound to a cluster")
	errClustered = errors.New("the log was not opened for a cluster")
)

// A BoundError refuses a log because of its binding to a cluster.
type BoundError struct {
	Cluster string // the name of the cluster
}

func (e *BoundError) Error() string {
	return fmt.Sprintf("the log belongs to the cluster %q", e.Cluster)
}

// A binding is what a log stores of its cluster. It is never changed, so readers
// may use it without a lock.
type binding struct {
	generation events.Generation
	creator    bool
	cursor     *events.Cursor // nil: no entry has been applied
}

// binding returns the log's binding, nil if there is none.
func (l *Log) binding() *binding {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bound
}

// Generation returns the generation that the log is bound to. creator reports
// whether this log's node has created it. ok is false if the log is not bound.
func (l *Log) Generation() (g events.Generation, creator, ok bool) {
	b := l.binding()
	if b == nil {
		return events.Generation{}, false, false
	}
	return b.generation, b.creator, true
}

// Cursor returns the last entry that the log has applied: everything that it orders
// is in the log. It returns false if the log has applied no entry of its
// generation.
func (l *Log) Cursor() (events.Cursor, bool) {
	b := l.binding()
	if b == nil || b.cursor == nil {
		return events.Cursor{}, false
	}
	return *b.cursor, true
}

// loadBinding reads the log's binding, which must exist if the log's format says
// so.
func (l *Log) loadBinding(bound bool) error {
	encoded, found, err := l.get(keyCluster)
	if err != nil {
		return err
	}
	if found != bound {
		return errors.New("the log's format does not agree with its binding to a cluster")
	}
	if !bound {
		return nil
	}
	g, err := events.DecodeGeneration(encoded)
	if err != nil {
		return fmt.Errorf("the log's generation cannot be read: %w", err)
	}
	if g.LogID != l.logID {
		return fmt.Errorf("the log's generation is of log %s", g.LogID)
	}
	b := &binding{generation: g}
	if _, b.creator, err = l.get(keyCreator); err != nil {
		return err
	}
	c, found, err := l.get(keyCursor)
	if err != nil {
		return err
	}
	if found {
		cursor, err := decodeCursor(c)
		if err != nil || cursor.Generation != g.ID {
			return errors.New("the log's cursor cannot be read")
		}
		b.cursor = &cursor
	}
	l.bound = b
	return nil
}

// Bind binds the log to a generation. Repeating it changes nothing. When it returns
// nil, the binding is durable.
//
// The creator's log must be exactly at the generation's position, with its hash and
// log id. It may be bound to another generation, which the new one replaces. Any
// other log must be unbound: either empty, and then it takes over the generation's
// log id, or with that log id and not past the generation's position.
//
// An error other than events.ErrFailed has changed nothing. The log must have been
// opened with Clustered.
func (l *Log) Bind(ctx context.Context, g events.Generation, creator bool) error {
	return l.change(ctx, "bind", func(h head) error { return l.bind(h, g, creator) })
}

// Renew gives the log a new id and binds it to a generation of this id, as the
// generation's creator. Commits that another node has after the log's head can be
// given up then: because of the new id, a later position of the old log cannot be taken
// for a position of this log. The old id becomes an origin of the log, and the
// snapshots, which name it, are deleted.
//
// The log must be exactly at the generation's position, with its hash; it may be bound
// to another generation. Renew ignores the generation's log id, and returns the
// generation with the new one.
//
// When it returns nil, all of it is durable. An error other than events.ErrFailed has
// changed nothing. The log must have been opened with Clustered.
func (l *Log) Renew(ctx context.Context, g events.Generation) (events.Generation, Origin, error) {
	o := Origin{LogID: l.LogID(), Time: time.Now().UTC().Truncate(time.Microsecond)}
	err := l.change(ctx, "renew", func(h head) error {
		o.Position, o.Hash = h.position, h.hash
		g.LogID = newLogID()
		return l.renew(h, g, o)
	})
	return g, o, err
}

// Unbind makes the log stand-alone again. Only the log of the generation's creator
// can be unbound, and only while no commit follows the generation's position,
// because another node may have such commits too. An error other than
// events.ErrFailed has changed nothing.
func (l *Log) Unbind(ctx context.Context) error {
	return l.change(ctx, "unbind", l.unbind)
}

// change calls fn as the log's only writer.
func (l *Log) change(ctx context.Context, act string, fn func(h head) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	if err := l.lockWriting(ctx); err != nil {
		return err
	}
	defer l.unlockWriting()
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := l.writable()
	if err == nil && !l.clustered {
		err = errClustered
	}
	if err == nil {
		err = fn(h)
	}
	if err != nil {
		return fmt.Errorf("eventlog: %s: %w", act, err)
	}
	return nil
}

func (l *Log) bind(h head, g events.Generation, creator bool) error {
	if err := g.Check(); err != nil {
		return err
	}
	if bound := l.binding(); bound != nil {
		if bound.generation == g && (bound.creator || !creator) {
			return nil
		}
		if bound.generation.ID == g.ID || !creator {
			return &BoundError{Cluster: bound.generation.Cluster}
		}
	}
	takeOver := !creator && h.position == 0 && g.LogID != l.LogID()
	switch {
	case takeOver:
	case g.LogID != l.LogID():
		return fmt.Errorf("the generation is of log %s, this log is %s", g.LogID, l.LogID())
	case creator && h != head{g.Position, g.Hash}:
		return errNotHead(g, h)
	case h.position > g.Position:
		return fmt.Errorf("the generation begins at %d, and the log has later commits, up to %d", g.Position, h.position)
	case h.position == g.Position && h.hash != g.Hash:
		return fmt.Errorf("the generation and the log have different commits at %d", g.Position)
	}
	b := l.db.NewBatch()
	err := setBinding(b, g, creator)
	if takeOver {
		err = cmp.Or(err, b.Set([]byte(keyLogID), []byte(g.LogID), nil), b.Delete([]byte(keyOrigins), nil))
	}
	if err != nil {
		return cmp.Or(err, b.Close())
	}
	if takeOver {
		return l.rebind(b, &binding{generation: g}, &identity{logID: g.LogID})
	}
	return l.rebind(b, &binding{generation: g, creator: creator}, nil)
}

// setBinding adds to a batch that the log is bound to a generation and has applied
// none of its entries.
func setBinding(b *pebble.Batch, g events.Generation, creator bool) error {
	err := cmp.Or(
		unbind(b),
		b.Set([]byte(keyFormat), []byte(formatBound), nil),
		b.Set([]byte(keyCluster), events.AppendGeneration(nil, &g), nil),
	)
	if creator {
		err = cmp.Or(err, b.Set([]byte(keyCreator), []byte("1"), nil))
	}
	return err
}

func errNotHead(g events.Generation, h head) error {
	return fmt.Errorf("the generation begins at %d, the log's head is at %d, or the commits there differ", g.Position, h.position)
}

func (l *Log) renew(h head, g events.Generation, o Origin) error {
	if err := g.Check(); err != nil {
		return err
	}
	if h != (head{g.Position, g.Hash}) {
		return errNotHead(g, h)
	}
	origins := append(l.Origins(), o)
	b := l.db.NewBatch()
	err := cmp.Or(
		setBinding(b, g, true),
		b.Set([]byte(keyLogID), []byte(g.LogID), nil),
		b.Set([]byte(keyOrigins), encodeOrigins(origins), nil),
		deleteSnapshots(b),
	)
	if err != nil {
		return cmp.Or(err, b.Close())
	}
	return l.rebind(b, &binding{generation: g, creator: true}, &identity{g.LogID, origins, h})
}

func (l *Log) unbind(h head) error {
	bound := l.binding()
	switch {
	case bound == nil:
		return errUnbound
	case !bound.creator:
		return fmt.Errorf("another node has created the cluster %q", bound.generation.Cluster)
	case h.position != bound.generation.Position:
		return fmt.Errorf("the cluster %q began at %d, and commits up to %d were made in it",
			bound.generation.Cluster, bound.generation.Position, h.position)
	}
	b := l.db.NewBatch()
	if err := unbind(b); err != nil {
		return cmp.Or(err, b.Close())
	}
	return l.rebind(b, nil, nil)
}

// unbind adds to a batch that the log is not bound.
func unbind(b *pebble.Batch) error {
	return cmp.Or(
		b.Set([]byte(keyFormat), []byte(formatVersion), nil),
		b.Delete([]byte(keyCluster), nil),
		b.Delete([]byte(keyCreator), nil),
		b.Delete([]byte(keyCursor), nil),
	)
}

// An identity is another id that a log gets, with its origins and its head then.
type identity struct {
	logID   string
	origins []Origin
	head    head
}

// rebind makes a batch with another binding durable. If the batch gives the log another
// id too, the log's high-water mark names the old one. Therefore the mark is removed
// first, and a new one is written. A crash in between leaves a log without a mark, which
// is opened like a copy; nothing of the log is lost then, because the log was closed or
// empty before, and the batch is synced.
func (l *Log) rebind(b *pebble.Batch, bound *binding, other *identity) error {
	l.mu.Lock()
	l.failed = true
	l.mu.Unlock()
	if other != nil {
		if err := l.dropHighWater(); err != nil {
			return fmt.Errorf("%w: %w", events.ErrFailed, err)
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("%w: %w", events.ErrFailed, err)
	}
	if other != nil {
		if err := l.newHighWater(other); err != nil {
			return fmt.Errorf("%w: %w", events.ErrFailed, err)
		}
	}
	l.mu.Lock()
	l.failed = false
	l.bound = bound
	if other != nil {
		l.logID, l.origins = other.logID, other.origins
	}
	l.mu.Unlock()
	return b.Close()
}

// dropHighWater removes the high-water mark of the old id.
func (l *Log) dropHighWater() error {
	w := l.highWater
	l.highWater = nil
	if err := w.close(); err != nil {
		return err
	}
	if err := l.fs.Remove(l.fs.PathJoin(l.dir, highWaterName)); err != nil {
		return err
	}
	return syncFolder(l.fs, l.dir)
}

// newHighWater creates the high-water mark of the new id.
func (l *Log) newHighWater(of *identity) (err error) {
	if l.highWater, err = openHighWater(l.fs, l.dir, nil); err != nil {
		return err
	}
	if err := l.highWater.write(of.logID, of.head); err != nil {
		return err
	}
	return l.highWater.file.Sync()
}

func encodeCursor(c events.Cursor) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), c.Generation[:]...), c.Seq)
}

func decodeCursor(b []byte) (c events.Cursor, err error) {
	if len(b) != len(c.Generation)+8 {
		return c, errors.New("not a cursor")
	}
	c.Seq = binary.BigEndian.Uint64(b[copy(c.Generation[:], b):])
	return c, nil
}
