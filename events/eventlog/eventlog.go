// Package eventlog is the event log of one node, on Pebble.
//
// It keeps commits at dense positions from 1, chained by hashes: each record
// holds the hash of the record before it. What Append acknowledged is on disk
// and stays, through kill and power loss; what a reader is shown was durable
// before, is complete, and has been checked against the chain. Beside the
// records it keeps indexes by tenant, time and command id, written in the same
// batch, and the head, so that nothing can be there by half; and, for a faster
// start, snapshots of what its owner makes of them (snapshot).
//
// Damage is refused or named, never passed over; a log that is shorter than it
// was is refused as well (highWater). One thing no disk can show by itself: that
// all of it, the high-water mark included, was put back to an earlier state.
//
// It knows nothing of what events mean. It starts no goroutine of its own;
// Pebble flushes and compacts in the background from Open to Close.
package eventlog

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
)

// Config says where a log is. Dir is required.
type Config struct {
	// Dir holds the log and nothing else; it is created, its parent too.
	// One process at a time has it open.
	Dir string
	// ReadOnly opens a log that is there, changes nothing, and takes no
	// appends. A damaged log can be looked into this way only: otherwise
	// Pebble would work on its tables, and end the process over them.
	ReadOnly bool
	// Existing opens a log that is there and makes none: without one, Open
	// returns ErrNoLog and has changed nothing.
	Existing bool
	// FS is the file system; nil is the disk.
	FS vfs.FS
	// Logger takes what Pebble has to say, and why a snapshot was passed over;
	// nil is silence.
	Logger *slog.Logger
	// Fatal is called, on whichever goroutine meets it, when the disk has
	// failed in a way after which what is durable is not known (a write to the
	// write-ahead log or the manifest), or when Pebble's background work fails
	// again and again. It must not return. Nil panics, which no process
	// survives on a goroutine of Pebble's own; one that recovers panics, as
	// HTTP servers do, should exit here instead.
	Fatal func(reason string)
}

// ErrNoLog is what Open returns when a log must be there and is not.
var ErrNoLog = errors.New("the folder holds no log")

// A LockedError is what Open returns when the log is open already.
type LockedError struct {
	Holder int // the process that has it open; 0 where that is not known
	Err    error
}

func (e *LockedError) Error() string { return "it is open already: " + e.Err.Error() }
func (e *LockedError) Unwrap() error { return e.Err }

// A Log is an open log. Its methods may be called at the same time.
type Log struct {
	db       *pebble.DB
	dir      string
	fs       vfs.FS
	logID    string
	origins  []Origin
	readOnly bool
	logger   *slog.Logger
	fatal    func(reason string)

	existing bool // none is made
	created  bool // Open has made it

	// timesMarked says that the time index tells where the clock was set back.
	timesMarked bool

	// writing is held by the one append under way; a channel, so that the
	// wait for it can be called off. It guards the two below as well: highWater,
	// which is nil when the log is read only, and the newest time of a commit.
	writing   chan struct{}
	highWater *highWater
	latest    time.Time

	// snapshotting is held by the one snapshot being written.
	snapshotting chan struct{}

	// closing is closed when Close begins; users counts the calls that use db.
	closing chan struct{}
	users   sync.WaitGroup

	// mu guards what follows. It is never held during I/O.
	mu sync.Mutex
	// head is the newest durable commit. Pebble may show a reader more: a
	// batch is visible there before it is synced. Readers therefore read up
	// to head and no further.
	head head
	// moved is closed and replaced when head moves.
	moved chan struct{}
	// failed is set before a write begins and cleared when it has clearly
	// ended, so it stays set however the write is left, by panic too.
	failed bool
	closed bool
	// spoilt are the snapshots whose content was found damaged.
	spoilt map[events.Position]bool
}

// A head is a position and the hash of the record there: all that the next
// commit needs to know of those before it.
type head struct {
	position events.Position
	hash     [32]byte
}

// Open opens the log in a folder, or creates it. It refuses a folder of an
// unknown format, a log whose newest record is not the one its head names, and
// one that is not as long as it was.
func Open(c Config) (*Log, error) {
	if c.Dir == "" {
		return nil, errors.New("eventlog: no folder given")
	}
	if err := checkThere(c); err != nil {
		return nil, fmt.Errorf("eventlog: open %s: %w", c.Dir, err)
	}
	db, err := openPebble(c)
	if err != nil {
		return nil, fmt.Errorf("eventlog: open %s: %w", c.Dir, err)
	}
	l := &Log{
		db:       db,
		dir:      c.Dir,
		fs:       cmp.Or(c.FS, vfs.Default),
		readOnly: c.ReadOnly,
		fatal:    c.Fatal,
		logger:   cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		writing:  make(chan struct{}, 1),
		closing:  make(chan struct{}),
		moved:    make(chan struct{}),
		existing: c.Existing,

		snapshotting: make(chan struct{}, 1),
		spoilt:       map[events.Position]bool{},
	}
	if err := l.open(c); err != nil {
		return nil, errors.Join(fmt.Errorf("eventlog: open %s: %w", c.Dir, err), l.shut())
	}
	return l, nil
}

// open reads the log's state and compares it with its high-water mark. The file of
// the mark is not touched before the log has passed.
func (l *Log) open(c Config) error {
	if err := l.load(); err != nil {
		return err
	}
	if err := l.loadTimes(); err != nil {
		return err
	}
	marks, err := readMarks(l.fs, c.Dir, l.logID)
	if err != nil {
		return err
	}
	for _, m := range marks {
		if err := l.checkMark(m); err != nil {
			return err
		}
	}
	if c.ReadOnly {
		return nil
	}
	if l.highWater, err = openHighWater(l.fs, c.Dir, marks); err != nil {
		return err
	}
	found := len(marks) > 0
	if found && marks[0].head == l.head {
		return nil
	}
	if err := l.highWater.write(l.logID, l.head); err != nil || found {
		return err
	}
	return l.highWater.file.Sync() // from now on one place is always whole
}

// shut closes what open has opened.
func (l *Log) shut() error {
	var err error
	if l.highWater != nil {
		err = l.highWater.close()
	}
	return errors.Join(err, l.db.Close())
}

// load reads what stands under m|, or writes it for a new log.
func (l *Log) load() error {
	format, found, err := l.get(keyFormat)
	if err != nil {
		return err
	}
	if !found {
		return l.create()
	}
	if string(format) != formatVersion {
		return fmt.Errorf("format %q is not %q", format, formatVersion)
	}
	id, _, err := l.get(keyLogID)
	if err != nil {
		return err
	}
	h, _, err := l.get(keyHead)
	if err != nil {
		return err
	}
	o, _, err := l.get(keyOrigins)
	if err != nil {
		return err
	}
	if l.origins, err = decodeOrigins(o); err != nil {
		return err
	}
	l.logID = string(id)
	if l.head, err = decodeHead(h); err != nil || len(l.logID) != logIDLength {
		return errors.New("the log's own record is not readable")
	}
	return l.checkHead()
}

// checkHead compares the newest record with the head.
func (l *Log) checkHead() error {
	last, err := l.lastPosition()
	if err != nil {
		return err
	}
	if last != l.head.position {
		return &events.CorruptError{Position: min(last, l.head.position) + 1,
			Err: fmt.Errorf("the newest record is %d, the head is %d", last, l.head.position)}
	}
	if last == 0 {
		return nil
	}
	record, found, err := l.get(keyCommit(last))
	if err != nil {
		return err
	}
	if !found || events.Hash(record) != l.head.hash {
		return &events.CorruptError{Position: last, Err: errChain}
	}
	return nil
}

// create gives a new log its name.
func (l *Log) create() error {
	iter, err := l.db.NewIter(nil)
	if err != nil {
		return err
	}
	foreign := iter.First()
	if err := cmp.Or(iter.Error(), iter.Close()); err != nil {
		return err
	}
	if foreign {
		return errors.New("the folder holds something else")
	}
	if l.readOnly || l.existing {
		return ErrNoLog
	}
	l.created = true
	var id [logIDLength / 2]byte
	rand.Read(id[:]) // never fails
	l.logID = hex.EncodeToString(id[:])
	b := l.db.NewBatch()
	defer b.Close()
	for key, value := range map[string]string{
		keyFormat: formatVersion,
		keyLogID:  l.logID,
		keyHead:   string(encodeHead(head{})),
		keyTimes:  timesMarked,
	} {
		if err := b.Set([]byte(key), []byte(value), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// Close ends the log. Calls under way are waited for; waiting ones return
// events.ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return events.ErrClosed
	}
	l.closed = true
	close(l.closing)
	l.mu.Unlock()
	l.users.Wait()
	if err := l.shut(); err != nil {
		return fmt.Errorf("eventlog: close: %w", err)
	}
	return nil
}

// LogID names this history: 128 random bits in hex, made when the log was.
func (l *Log) LogID() string { return l.logID }

// Created reports whether Open has made this log, because there was none.
func (l *Log) Created() bool { return l.created }

// Origins are the logs this one was restored from, the oldest first; none when
// it has a history of its own.
func (l *Log) Origins() []Origin { return slices.Clone(l.origins) }

// Head gives the newest durable position and its hash; zeros when the log is
// empty.
func (l *Log) Head() (events.Position, [32]byte) {
	h := l.durable()
	return h.position, h.hash
}

// Wait returns when the log reaches past a position, at once if it does
// already, and gives its head. A follower that is ahead of the log gets
// events.ErrNoSuchPosition: it has followed another history.
func (l *Log) Wait(ctx context.Context, after events.Position) (events.Position, error) {
	for {
		l.mu.Lock()
		h, moved := l.head, l.moved
		l.mu.Unlock()
		if h.position > after {
			return h.position, nil
		}
		if h.position < after {
			return 0, fmt.Errorf("eventlog: wait past %d, the head is at %d: %w", after, h.position, events.ErrNoSuchPosition)
		}
		select {
		case <-moved:
		case <-l.closing:
			return 0, events.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// durable gives the head readers may read up to.
func (l *Log) durable() head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// use keeps db open until the caller calls l.users.Done.
func (l *Log) use() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return events.ErrClosed
	}
	l.users.Add(1)
	return nil
}

// get reads one value. The caller holds a use, or is Open.
func (l *Log) get(key string) (value []byte, found bool, err error) {
	v, closer, err := l.db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}
