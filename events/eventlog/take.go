package eventlog

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// A member of a cluster reads records that a majority of the log servers has on disk.
// It may decide from them at once; only the statement "this node's disk has them"
// must wait for its own sync. Therefore a log has two positions: Head, up to which
// everything can be read, and Durable, up to which a crash loses nothing. They differ
// only between Take and Settle. Records, indexes, the head and the cursor are one
// batch, so after a crash they all go back together.

const (
	// maxTaken and maxTakenBytes bound the writes of Take that are not durable: the
	// memory that they hold, and what a member reads from the order again after a
	// crash. A disk that syncs in 10 ms reaches them at thousands of writes a second.
	maxTaken      = 256
	maxTakenBytes = 32 << 20
)

// A taken is a write that readers see and that may not be durable.
type taken struct {
	batch *pebble.Batch
	size  int
	head  head // of the log after it
}

// Take is like Ingest, but it returns as soon as readers see the records. They are
// durable after a later Settle, and a crash before that may lose them together with
// the cursor: always the newest writes, whole. While many writes are not durable,
// Take first waits until they are.
func (l *Log) Take(ctx context.Context, to events.Cursor, records [][]byte) error {
	if l.crowded() {
		if err := l.Settle(ctx); err != nil {
			return err
		}
	}
	return l.change(ctx, "take", func(h head) error { return l.ingest(h, to, records, l.showEarly) })
}

// crowded reports whether too many writes are not durable.
func (l *Log) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsettled >= maxTaken || l.unsettledBytes >= maxTakenBytes
}

// showEarly applies a batch and advances the head. Pebble begins to sync the batch,
// and Settle waits for it.
func (l *Log) showEarly(b *pebble.Batch, h head) error {
	l.mu.Lock()
	l.failed = true
	l.mu.Unlock()
	size := b.Len()
	if err := l.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return fmt.Errorf("%w: %w", events.ErrFailed, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = false
	l.taken = append(l.taken, taken{b, size, h})
	l.unsettled++
	l.unsettledBytes += size
	l.show(h)
	return nil
}

// Durable returns the newest position that is known to be durable, and its hash. It is
// the head, unless Take has moved the head since the last Settle.
func (l *Log) Durable() (events.Position, [32]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable.position, l.durable.hash
}

// Settle returns nil once everything that Head showed at the time of the call is
// durable. Writes of Take that came during one sync share the next one. ctx bounds
// only the wait for the Settle of another caller. If a sync fails, Settle calls
// Config.Fatal; if that returns by a panic that the caller recovers, this and every
// later write return events.ErrFailed.
func (l *Log) Settle(ctx context.Context) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	h := l.visible()
	if err := l.settle(); err != nil {
		return fmt.Errorf("eventlog: settle: %w", err)
	}
	for {
		l.mu.Lock()
		durable, lost, synced := l.durable, l.lost, l.synced
		l.mu.Unlock()
		switch {
		case durable.position >= h.position:
			return nil
		case lost:
			return fmt.Errorf("eventlog: settle: %w", events.ErrFailed)
		}
		select { // another call waits for the rest
		case <-synced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits for the syncs of the writes that no other call waits for, and then
// writes the high-water mark. The mark is therefore never ahead of the durable log.
func (l *Log) settle() error {
	l.mu.Lock()
	list := l.taken
	l.taken = nil
	l.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	size := 0
	for _, t := range list {
		if err := t.batch.SyncWait(); err != nil {
			l.lose()
			// Pebble does the same where it waits for a sync itself.
			database(Config{Logger: l.logger, Fatal: l.fatal}).GiveUp("the sync of a write has failed: %v", err)
		}
		size += t.size
	}
	if err := l.raise(list[len(list)-1].head); err != nil {
		l.lose()
		return fmt.Errorf("%w: %w", events.ErrFailed, err)
	}
	l.mu.Lock()
	l.unsettled -= len(list)
	l.unsettledBytes -= size
	l.mu.Unlock()
	for _, t := range list {
		if err := t.batch.Close(); err != nil {
			return err
		}
	}
	return nil
}

// raise writes the high-water mark for a head that is durable, and moves durable.
func (l *Log) raise(h head) error {
	l.writing <- struct{}{} // waits for one write of the disk
	defer l.unlockWriting()
	if p, _ := l.Durable(); p >= h.position {
		return nil // a later write has been synced meanwhile
	}
	if err := l.highWater.write(l.LogID(), h); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleAt(h)
	return nil
}

// settleAt moves durable. The caller holds mu.
func (l *Log) settleAt(h head) {
	l.durable = h
	close(l.synced)
	l.synced = make(chan struct{})
}

// lose stops all later writes, because the sync of a write has failed.
func (l *Log) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	close(l.synced)
	l.synced = make(chan struct{})
}
