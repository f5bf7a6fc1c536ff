// Package auditlog stores the records of the audit log in a Pebble database.
//
// Append returns when the records are on disk. One committer writes everything that
// waits with one sync. The records of one tenant in it become one entry, and each
// entry is a leaf of a Merkle tree (RFC 6962), so a signed hash of the tree proves all
// entries. Names are stored outside the tree and can be erased.
//
// Damage is reported with the number of its leaf. A log that is shorter than before
// is refused (see package headfile).
package auditlog

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit/proof"
	"github.com/postern-im/postern/internal/headfile"
	"github.com/postern-im/postern/internal/pebbledb"
)

// highWaterName is the name of the head file.
const highWaterName = "HIGHWATER"

// Config configures a Log. Dir is required.
type Config struct {
	// Dir is the folder of the log.
	Dir string
	// FS is the file system; nil means the disk.
	FS vfs.FS
	// ReadOnly opens the log for reading. Nothing is created or changed.
	ReadOnly bool
	// Budget is the number of bytes that the log may take on the disk. Zero means no
	// limit.
	Budget uint64
	// Reserve is the number of bytes to leave free on the disk. Zero means none.
	Reserve uint64
	// Free returns the number of free bytes on the disk. Nil means no limit.
	Free func() (uint64, error)
	// Signer signs checkpoints of the tree, each second if there are new entries. Nil
	// means that there are no checkpoints. Origin is the name of the tree in them. It
	// must name this log only, for example "postern/acme/audit/n1/1".
	Signer note.Signer
	Origin string
	// Now is the clock; nil means time.Now. The look at the free space and the times
	// of checkpoints use it.
	Now func() time.Time
	// Logger gets Pebble's messages. Nil discards them.
	Logger *slog.Logger
	// Fatal is called when the disk has failed so that it is unknown which records
	// are durable. It must not return. Nil means a panic.
	Fatal func(reason string)
}

var (
	// ErrFull means that there is no room for records: the budget is used up, or less
	// than the reserve is free. A later Append may succeed.
	ErrFull = errors.New("no room for records")
	// ErrFailed means that a write has failed. It is unknown whether the records are
	// on disk. The log must be opened again.
	ErrFailed = errors.New("the audit log has failed")
	// ErrClosed means that the log is closed, or that its Run has ended.
	ErrClosed = errors.New("the audit log is closed")
	// ErrShorter means that the log has lost its newest entries.
	ErrShorter = errors.New("the audit log is shorter than before")
)

// A DamagedError says which leaf cannot be read.
type DamagedError struct {
	Leaf uint64
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("audit entry %d is damaged: %v", e.Leaf, e.Err)
}
func (e *DamagedError) Unwrap() error { return e.Err }

// A Log is an open log. Its methods may be called concurrently.
type Log struct {
	cfg Config
	db  *pebble.DB
	id  string

	// queue hands groups to the committer. ended is closed when Run has ended.
	queue chan *pending
	ended chan struct{}

	// writer is the state of the committer. Only Run uses it.
	writer writer
	// chunkRecords is the constant, or less in a test.
	chunkRecords int

	// closing is closed when Close begins. users counts the calls that use db.
	closing chan struct{}
	users   sync.WaitGroup

	// mu guards the fields below. It is never held during I/O.
	mu     sync.Mutex
	head   head // the newest durable head
	moved  chan struct{}
	failed bool
	closed bool
	// checkpoint is the newest checkpoint of this process.
	checkpoint proof.Checkpoint
}

// A head is the state of the log that each write changes.
type head struct {
	leaves uint64
	root   tlog.Hash
	names  uint64 // the newest number of a name
	time   int64  // the newest time of a record, in microseconds
}

// Open opens the log in a folder, or creates it.
func Open(c Config) (*Log, error) {
	if c.Dir == "" {
		return nil, errors.New("auditlog: no folder given")
	}
	if c.Signer != nil && c.Origin == "" {
		return nil, errors.New("auditlog: checkpoints need an origin")
	}
	c.FS = cmp.Or[vfs.FS](c.FS, vfs.Default)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	db, err := pebble.Open(c.Dir, pebbledb.Options(pebbledb.Config{Name: "audit log", FS: c.FS, ReadOnly: c.ReadOnly, Logger: c.Logger, Fatal: c.Fatal}))
	if err != nil {
		return nil, fmt.Errorf("auditlog: open %s: %w", c.Dir, err)
	}
	l := &Log{
		cfg: c, db: db,
		chunkRecords: chunkRecords,
		queue:        make(chan *pending, maxWaiting), ended: make(chan struct{}),
		closing: make(chan struct{}), moved: make(chan struct{}),
	}
	if err := l.load(); err != nil {
		err = errors.Join(err, l.writer.close(), db.Close())
		return nil, fmt.Errorf("auditlog: open %s: %w", c.Dir, err)
	}
	return l, nil
}

// load reads the values under m|, or writes them for a new log, and checks the end of
// the log.
func (l *Log) load() error {
	format, err := l.get([]byte(keyFormat))
	if errors.Is(err, pebble.ErrNotFound) {
		if err := l.create(); err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else if string(format) != formatVersion {
		return fmt.Errorf("format %q is not %q", format, formatVersion)
	}
	id, err := l.get([]byte(keyID))
	if err != nil {
		return err
	}
	h, err := l.get([]byte(keyHead))
	if err != nil {
		return err
	}
	l.id = string(id)
	if l.head, err = decodeHead(h); err != nil || len(l.id) != headfile.IDLength {
		return errors.New("the log's id or head cannot be read")
	}
	edge, err := loadEdge(l.db, l.head.leaves)
	if err != nil {
		return err
	}
	if edge.root() != l.head.root {
		return fmt.Errorf("the newest entries do not match the head at %d", l.head.leaves)
	}
	if err := l.checkHighWater(); err != nil || l.cfg.ReadOnly {
		return err
	}
	return l.writer.open(l, edge)
}

// create initializes a new log.
func (l *Log) create() error {
	iter, err := l.db.NewIter(nil)
	if err != nil {
		return err
	}
	foreign := iter.First()
	if err := cmp.Or(iter.Error(), iter.Close()); err != nil {
		return err
	}
	path := l.cfg.FS.PathJoin(l.cfg.Dir, highWaterName)
	id, _, err := headfile.Read(l.cfg.FS, path)
	switch {
	case err != nil:
		return err
	case foreign:
		return errors.New("the folder holds keys that are not an audit log's")
	case id != "":
		return fmt.Errorf("%w: the folder holds no log, but %s shows that there was one", ErrShorter, path)
	case l.cfg.ReadOnly:
		return errors.New("the folder holds no audit log")
	}
	var random [headfile.IDLength / 2]byte
	rand.Read(random[:]) // never fails
	b := l.db.NewBatch()
	defer b.Close()
	empty := head{root: (&edge{}).root()}
	err = cmp.Or(
		b.Set([]byte(keyFormat), []byte(formatVersion), nil),
		b.Set([]byte(keyID), []byte(hex.EncodeToString(random[:])), nil),
		b.Set([]byte(keyHead), encodeHead(empty), nil),
	)
	return cmp.Or(err, b.Commit(pebble.Sync))
}

// checkHighWater refuses a log that ends before its high-water mark, or has another
// tree there.
func (l *Log) checkHighWater() error {
	path := l.cfg.FS.PathJoin(l.cfg.Dir, highWaterName)
	id, seen, err := headfile.Read(l.cfg.FS, path)
	switch {
	case err != nil || id == "":
		return err
	case id != l.id:
		return fmt.Errorf("%s belongs to another audit log", path)
	case seen.Number > l.head.leaves:
		return fmt.Errorf("%w: it ends at %d and had reached %d", ErrShorter, l.head.leaves, seen.Number)
	}
	e, err := loadEdge(l.db, seen.Number)
	if err != nil {
		return err
	}
	if e.root() != seen.Hash {
		return fmt.Errorf("the entries up to %d are not those that were written", seen.Number)
	}
	return nil
}

// get returns a copy of a value.
func (l *Log) get(k []byte) ([]byte, error) {
	v, closer, err := l.db.Get(k)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// use keeps the database open until the caller calls users.Done.
func (l *Log) use() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.users.Add(1)
	return nil
}

// ID returns the id of the log's tree.
func (l *Log) ID() string { return l.id }

// Close waits for the calls in progress and closes the log. Run must have ended.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	close(l.closing)
	l.users.Wait()
	return errors.Join(l.writer.close(), l.db.Close())
}

func encodeHead(h head) []byte {
	b := binary.AppendUvarint(nil, h.leaves)
	b = binary.AppendUvarint(b, h.names)
	b = binary.AppendVarint(b, h.time)
	return append(b, h.root[:]...)
}

func decodeHead(b []byte) (h head, err error) {
	var n [3]int
	h.leaves, n[0] = binary.Uvarint(b)
	if n[0] > 0 {
		b = b[n[0]:]
		h.names, n[1] = binary.Uvarint(b)
	}
	if n[1] > 0 {
		b = b[n[1]:]
		h.time, n[2] = binary.Varint(b)
	}
	if n[2] <= 0 || len(b)-n[2] != tlog.HashSize {
		return head{}, errors.New("a head of another length")
	}
	copy(h.root[:], b[n[2]:])
	return h, nil
}
