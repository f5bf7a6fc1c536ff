// Package eventlog is the event log of one node, stored in Pebble.
//
// It keeps commits at consecutive positions from 1, chained by hashes: each
// record holds the hash of the record before it. An acknowledged append is on
// disk and stays there, through kill and power loss. A commit that a reader
// gets is durable, complete, and checked against the chain. Indexes by tenant,
// time and command id, and the head, are written in the same batch as the
// records, so none can exist without the others. For a faster start the log
// also keeps snapshots of its owner's state (see snapshot.go).
//
// There is one exception to durability: a member of a cluster may take records that
// the cluster has ordered, and read them, before its own disk has synced them (see
// Take). A crash can lose these records here, and the order gives them again.
//
// Damage is refused or reported with its position, never skipped. A log that is
// shorter than before is refused too (see highWater). The log cannot detect that
// its whole folder, including the high-water mark, was replaced by an earlier
// copy.
//
// The package knows nothing about the meaning of events. It starts no
// goroutine; Pebble flushes and compacts in the background from Open to Close.
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

// Config says where a log is and how it is opened. Dir is required.
type Config struct {
	// Dir holds the log and nothing else. It is created if it is missing, its
	// parent too. Only one process at a time can have it open.
	Dir string
	// ReadOnly opens an existing log, changes nothing, and refuses appends. A
	// damaged log must be inspected in this way: otherwise Pebble would compact
	// its tables and end the process because of the damage.
	ReadOnly bool
	// Existing opens an existing log and never creates one: if there is none,
	// Open returns ErrNoLog and changes nothing.
	Existing bool
	// Clustered opens the log for a member of a cluster. Without it, Open refuses a
	// log that is bound to a cluster, with a *BoundError, because a commit that the
	// cluster did not order would make the log a different history. A log that is
	// opened with ReadOnly needs no Clustered.
	Clustered bool
	// FS is the file system; nil means the disk.
	FS vfs.FS
	// Logger gets Pebble's messages, and the reason when a snapshot is skipped.
	// Nil discards them.
	Logger *slog.Logger
	// Fatal is called when Pebble's background work fails again and again, or
	// when a write to the write-ahead log or the manifest fails, because then
	// it is unknown which data is durable. It may be called on any goroutine
	// and must not return. Nil means a panic. A panic on one of Pebble's own
	// goroutines ends the process, but an HTTP server recovers panics in its
	// handlers. A program that recovers panics should exit in Fatal.
	Fatal func(reason string)
}

// ErrNoLog is the error of Open when a log must exist and does not.
var ErrNoLog = errors.New("the folder holds no log")

// A LockedError is the error of Open when the log is open already.
type LockedError struct {
	Holder int // the process that has it open; 0 if unknown
	Err    error
}

func (e *LockedError) Error() string { return "it is open already: " + e.Err.Error() }
func (e *LockedError) Unwrap() error { return e.Err }

// A Log is an open log. Its methods may be called concurrently.
type Log struct {
	db       *pebble.DB
	dir      string
	fs       vfs.FS
	readOnly bool
	// clustered is Config.Clustered.
	clustered bool
	logger    *slog.Logger
	fatal     func(reason string)

	existing bool // Open must not create the log
	created  bool // Open has created the log

	// timesMarked reports that the time index marks where the clock was set
	// back.
	timesMarked bool

	// writing is held by the one write that is running. It is a channel, so
	// that waiting for it can be cancelled. It also guards the next three fields:
	// highWater, which is nil if the log is read only; latest, the newest time of
	// a commit; and versions, the newest versions of at most maxVersions tenants.
	writing   chan struct{}
	highWater *highWater
	latest    time.Time
	versions  map[string]*uint64

	// snapshotting is held while a snapshot is written.
	snapshotting chan struct{}

	// closing is closed when Close begins. users counts the calls that use db.
	closing chan struct{}
	users   sync.WaitGroup

	// mu guards the fields below. It is never held during I/O.
	mu sync.Mutex
	// logID and origins change only when an empty log is bound to a generation, and by
	// Renew.
	logID   string
	origins []Origin
	// bound is the log's binding to a cluster; nil if there is none. The binding
	// itself is never changed.
	bound *binding
	// head is the newest commit that readers see. Pebble may show them more, because
	// it shows a batch before it has synced it. Therefore readers read only up to
	// head. Only Take moves it past durable.
	head head
	// moved is closed and replaced when head moves.
	moved chan struct{}
	// durable is the newest commit that is known to be durable.
	durable head
	// taken are the writes of Take that no Settle waits for yet, in order.
	taken []taken
	// unsettled and unsettledBytes are the writes of Take that are not known to be
	// durable.
	unsettled, unsettledBytes int
	// synced is closed and replaced when durable moves, or when lost is set.
	synced chan struct{}
	// lost is set when the sync of a write of Take has failed, and stays set.
	lost bool
	// failed is set before a write begins and cleared only when the write has
	// succeeded. It therefore stays set if the write returns an error or panics.
	failed bool
	closed bool
	// corrupt holds the positions of snapshots whose content is damaged.
	corrupt map[events.Position]bool
}

// A head is a position and the hash of the record there. The next commit
// depends on the commits before it only through the head.
type head struct {
	position events.Position
	hash     [32]byte
}

// Open opens the log in a folder, or creates it. It refuses a folder of an
// unknown format, a log whose newest record does not match its head, and a log
// that is shorter than before.
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

		clustered: c.Clustered,

		fatal:    c.Fatal,
		logger:   cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		writing:  make(chan struct{}, 1),
		closing:  make(chan struct{}),
		moved:    make(chan struct{}),
		synced:   make(chan struct{}),
		existing: c.Existing,

		versions:     map[string]*uint64{},
		snapshotting: make(chan struct{}, 1),
		corrupt:      map[events.Position]bool{},
	}
	if err := l.open(c); err != nil {
		return nil, errors.Join(fmt.Errorf("eventlog: open %s: %w", c.Dir, err), l.shut())
	}
	return l, nil
}

// open reads the log's state and compares it with the high-water mark.
func (l *Log) open(c Config) error {
	if err := l.load(); err != nil {
		return err
	}
	if l.bound != nil && !l.clustered && !l.readOnly {
		return &BoundError{Cluster: l.bound.generation.Cluster}
	}
	if err := l.loadTimes(); err != nil {
		return err
	}
	marks, err := readMarks(l.fs, c.Dir)
	if err != nil {
		return err
	}
	if err := l.checkMarks(marks); err != nil {
		return err
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
	return l.highWater.file.Sync() // from now on one place is always intact
}

// shut closes everything that open has opened.
func (l *Log) shut() error {
	err := l.settle()
	if l.highWater != nil {
		err = errors.Join(err, l.highWater.close())
	}
	return errors.Join(err, l.db.Close())
}

// load reads the values under m|, or writes them for a new log.
func (l *Log) load() error {
	format, found, err := l.get(keyFormat)
	if err != nil {
		return err
	}
	if !found {
		return l.create()
	}
	if string(format) != formatVersion && string(format) != formatBound {
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
		return errors.New("the log's id or head cannot be read")
	}
	l.durable = l.head
	return cmp.Or(l.checkHead(), l.loadBinding(string(format) == formatBound))
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

// create initializes a new log and gives it its id.
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
		return errors.New("the folder holds keys that are not a log's")
	}
	if l.readOnly || l.existing {
		return ErrNoLog
	}
	l.created = true
	l.logID = newLogID()
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

// newLogID draws the id of a log.
func newLogID() string {
	var id [logIDLength / 2]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Close closes the log. It waits for running calls; calls that wait for
// something return events.ErrClosed.
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

// LogID identifies this history: 128 random bits in hex, chosen when the log
// was created. Bind gives an empty log the id of the cluster's log, and Renew gives a
// log a new id.
func (l *Log) LogID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logID
}

// Created reports whether Open created this log because there was none.
func (l *Log) Created() bool { return l.created }

// Origins are the logs from which this log was restored or renewed, the oldest first. A
// log that was never restored has none.
func (l *Log) Origins() []Origin {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.origins)
}

// Head returns the newest position and its hash, zeros if the log is empty. It is
// durable, except after Take: see Durable.
func (l *Log) Head() (events.Position, [32]byte) {
	h := l.visible()
	return h.position, h.hash
}

// Wait waits until the head is past a position and returns it. A follower that
// is ahead of the log gets events.ErrNoSuchPosition, because it has followed
// another history.
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

// visible returns the head, up to which readers may read.
func (l *Log) visible() head {
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

// get reads one value. It is for Open and for callers of use.
func (l *Log) get(key string) (value []byte, found bool, err error) {
	return get(l.db, key)
}

func get(reader pebble.Reader, key string) (value []byte, found bool, err error) {
	v, closer, err := reader.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}
