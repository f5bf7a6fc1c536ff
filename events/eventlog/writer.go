package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/events"
)

// A writer checks the records of one write, and puts them into a batch.
type writer struct {
	log      *Log
	head     head              // the log's head after the records so far
	added    []added           // the records so far
	size     int               // of them together
	proven   events.Position   // records up to here have unused command ids; see Ingest
	latest   time.Time         // the newest time in the log with the records so far
	versions map[string]uint64 // of the tenants in the records so far
	commands []command         // of the records, sorted by key; set by check
}

// An added is a record that was added, and its commit without the events.
type added struct {
	record []byte
	commit events.Commit
}

// writer returns a writer of records after the head h. The caller holds writing.
func (l *Log) writer(h head) *writer {
	return &writer{log: l, head: h, latest: l.latest, versions: map[string]uint64{}}
}

// A refusal is the reason why a record cannot be the next one. It is not an error
// of the disk.
type refusal struct {
	at  events.Position
	err error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// addCommits adds the records of commits after an expected head, and checks them.
// It returns the commits as they will be read.
func (w *writer) addCommits(at events.Position, commits []*events.Commit) ([]*events.Commit, error) {
	if at != w.head.position {
		return nil, &events.ConflictError{Expected: at, Head: w.head.position}
	}
	if len(commits) == 0 {
		return nil, nil
	}
	if len(commits) > MaxCommits {
		return nil, fmt.Errorf("%d commits: %w", len(commits), events.ErrTooLarge)
	}
	read := make([]*events.Commit, len(commits))
	for i, given := range commits {
		c := *given
		c.Position = w.head.position + 1
		c.Previous = w.head.hash
		record := events.AppendCommit(nil, &c)
		read[i] = &events.Commit{}
		if err := w.add(record, read[i]); err != nil {
			return nil, fmt.Errorf("commit %d of %d: %w", i+1, len(commits), err)
		}
	}
	err := w.check()
	if r, ok := errors.AsType[refusal](err); ok {
		err = fmt.Errorf("commit %d of %d: %w", r.at-at, len(commits), r.err)
	}
	return read, err
}

// add adds the record of the next position, and decodes it into c. It checks the
// record by itself and against the chain; check does the rest.
func (w *writer) add(record []byte, c *events.Commit) error {
	next := w.head.position + 1
	if err := c.Decode(record); err != nil {
		return refusal{next, err}
	}
	if w.size += len(record); w.size > maxBatch {
		return events.ErrTooLarge
	}
	if c.Position != next {
		return refusal{next, positionError(c.Position)}
	}
	if c.Previous != w.head.hash {
		return refusal{next, errChain}
	}
	w.head = head{next, events.Hash(record)}
	w.added = append(w.added, added{record, *c})
	w.added[len(w.added)-1].commit.Events = nil // c may be used for the next record
	return nil
}

// check checks the records that were added against the log, and that there is
// room for them.
func (w *writer) check() error {
	if err := w.checkCommands(); err != nil {
		return err
	}
	for i := range w.added {
		if err := w.checkVersion(&w.added[i].commit); err != nil {
			return err
		}
	}
	return w.log.room(uint64(w.size), AppendReserve)
}

// put puts the records, their index entries and the new head into a batch. It does
// so in the order of the keys, because Pebble inserts keys in order several times
// faster. The writer must have been checked.
func (w *writer) put(b *pebble.Batch) error {
	var err error
	set := func(e entry) { err = cmp.Or(err, b.Set(e.key, e.value, nil)) }
	var index indexer
	for _, c := range w.commands {
		set(index.command(&w.added[c.at-w.first()].commit))
	}
	for i := range w.added {
		set(index.record(w.added[i].commit.Position, w.added[i].record))
	}
	for _, i := range w.byTenant() {
		set(index.tenant(&w.added[i].commit))
	}
	for i := range w.added {
		c := &w.added[i].commit
		set(index.time(c, w.latest))
		if c.Time.After(w.latest) {
			w.latest = c.Time
		}
	}
	return cmp.Or(err, b.Set([]byte(keyHead), encodeHead(w.head), nil))
}

// first is the position of the first record.
func (w *writer) first() events.Position { return w.added[0].commit.Position }

// byTenant returns the indexes of the records in the order of their tenants' keys.
func (w *writer) byTenant() []int {
	list := make([]int, len(w.added))
	for i := range list {
		list[i] = i
	}
	slices.SortFunc(list, func(i, j int) int {
		a, b := w.added[i].commit.Tenant, w.added[j].commit.Tenant
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b), cmp.Compare(i, j))
	})
	return list
}

// A command is the key of a record's command id, and the record's position.
type command struct {
	key string
	at  events.Position
}

// checkCommands refuses command ids that were used before, in the log or in the
// records. It looks them up in the order of their keys with one iterator, so that
// each block of the index is read at most once. Otherwise copying a long log would
// be ten times slower.
func (w *writer) checkCommands() error {
	w.commands = make([]command, len(w.added))
	for i := range w.added {
		c := &w.added[i].commit
		w.commands[i] = command{keyCommand(c.Tenant, c.CommandID), c.Position}
	}
	slices.SortFunc(w.commands, func(a, b command) int {
		return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.at, b.at))
	})
	if w.head.position <= w.proven {
		return nil
	}
	iter, err := w.log.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(prefixCommand), UpperBound: after(prefixCommand),
	})
	if err != nil {
		return err
	}
	first, err := w.usedCommand(iter)
	if err = cmp.Or(err, iter.Close()); err != nil || first.at == 0 {
		return err
	}
	return first
}

// usedCommand returns the refusal of the first record whose command id was used
// before, zeros if there is none.
func (w *writer) usedCommand(iter *pebble.Iterator) (first refusal, err error) {
	refuse := func(at, used events.Position) {
		if first.at == 0 || at < first.at {
			c := &w.added[at-w.first()].commit
			first = refusal{at, &events.DuplicateCommandError{Tenant: c.Tenant, CommandID: c.CommandID, Position: used}}
		}
	}
	for i, c := range w.commands {
		if c.at <= w.proven {
			continue
		}
		if i > 0 && c.key == w.commands[i-1].key {
			refuse(c.at, 0)
			continue
		}
		if !iter.SeekPrefixGE([]byte(c.key)) {
			if err := iter.Error(); err != nil {
				return first, err
			}
			continue
		}
		v, err := iter.ValueAndErr()
		if err != nil {
			return first, err
		}
		used, err := fromU64(v)
		if err != nil {
			return first, fmt.Errorf("command index: %w", err)
		}
		refuse(c.at, events.Position(used))
	}
	return first, nil
}

// checkVersion refuses a tenant version that is not the next one.
func (w *writer) checkVersion(c *events.Commit) error {
	version, known := w.versions[c.Tenant]
	if !known {
		var err error
		if version, err = w.log.tenantVersion(c.Tenant); err != nil {
			return err
		}
	}
	if version == math.MaxUint64 || c.TenantVersion != version+1 {
		return refusal{c.Position, fmt.Errorf("tenant %q is at version %d, not before %d", c.Tenant, version, c.TenantVersion)}
	}
	w.versions[c.Tenant] = c.TenantVersion
	return nil
}
