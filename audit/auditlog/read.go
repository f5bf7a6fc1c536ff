package auditlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit"
)

// Tree returns the number of durable leaves and the hash of the tree.
func (l *Log) Tree() tlog.Tree {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tlog.Tree{N: int64(l.head.leaves), Hash: l.head.root}
}

// Wait waits until the log has more than after leaves, and returns their number.
func (l *Log) Wait(ctx context.Context, after uint64) (uint64, error) {
	for {
		l.mu.Lock()
		leaves, moved, closed := l.head.leaves, l.moved, l.closed
		l.mu.Unlock()
		switch {
		case leaves > after:
			return leaves, nil
		case closed:
			return leaves, ErrClosed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return leaves, ctx.Err()
		case <-l.closing:
		}
	}
}

// ErrRemoved means that an entry was removed by retention. Its leaf hash remains.
var ErrRemoved = errors.New("the entry was removed")

// Entries calls fn for each entry from a leaf to before another, in order. An entry
// that is missing, or cannot be read or decoded, is a *DamagedError; fn gets it in place
// of the entry, and decides whether to go on. A removed entry is ErrRemoved. The entry is
// valid until fn returns.
func (l *Log) Entries(ctx context.Context, from, to uint64, fn func(leaf uint64, e *audit.Entry, err error) error) error {
	var e audit.Entry
	for {
		var ended error // of fn
		err := l.Values(ctx, from, to, func(leaf uint64, value []byte) error {
			ended = decode(leaf, value, &e, fn)
			return ended
		})
		damaged, ok := errors.AsType[*DamagedError](err)
		if !ok || ended != nil {
			return err
		}
		if err := fn(damaged.Leaf, nil, damaged); err != nil {
			return err
		}
		from = damaged.Leaf + 1
	}
}

// decode decodes the value of a leaf for fn.
func decode(leaf uint64, value []byte, e *audit.Entry, fn func(leaf uint64, e *audit.Entry, err error) error) error {
	switch {
	case len(value) > 0 && value[0] == removed:
		return fn(leaf, nil, ErrRemoved)
	case len(value) == 0:
		return fn(leaf, nil, &DamagedError{leaf, errors.New("it is empty")})
	}
	if err := audit.DecodeEntry(value[1:], e); err != nil {
		return fn(leaf, nil, &DamagedError{leaf, err})
	}
	return fn(leaf, e, nil)
}

// Values calls fn for each stored value of a leaf, from a leaf to before another: 0x01
// and the entry, or 0x00 and the leaf hash of a removed entry. The value is valid
// until fn returns. A missing leaf is a *DamagedError.
func (l *Log) Values(ctx context.Context, from, to uint64, fn func(leaf uint64, value []byte) error) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	l.mu.Lock()
	to = min(to, l.head.leaves)
	l.mu.Unlock()
	return scan(l.db, from, to, func(leaf uint64, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(leaf, value)
	})
}

// scan calls fn for the value of each leaf from first to before after. Each must be
// there.
func scan(db pebble.Reader, first, after uint64, fn func(leaf uint64, value []byte) error) (err error) {
	if first >= after {
		return nil
	}
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: key(prefixEntry, first), UpperBound: key(prefixEntry, after)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	leaf := first
	for iter.First(); iter.Valid(); iter.Next() {
		if k := iter.Key(); len(k) != len(prefixEntry)+8 || binary.BigEndian.Uint64(k[len(prefixEntry):]) != leaf {
			return &DamagedError{leaf, errors.New("it is missing")}
		}
		value, err := iter.ValueAndErr()
		if err != nil {
			return &DamagedError{leaf, err}
		}
		if err := fn(leaf, value); err != nil {
			return err
		}
		leaf++
	}
	if err := iter.Error(); err != nil {
		return &DamagedError{leaf, err}
	}
	if leaf != after {
		return &DamagedError{leaf, errors.New("it is missing")}
	}
	return nil
}

// Name returns the name with a number and its salt. ok is false if it was erased, or
// was never used.
func (l *Log) Name(number uint64) (salt audit.Salt, name audit.Name, ok bool, err error) {
	if err := l.use(); err != nil {
		return salt, name, false, err
	}
	defer l.users.Done()
	v, err := l.get(key(prefixName, number))
	if errors.Is(err, pebble.ErrNotFound) {
		return salt, name, false, nil
	}
	if err == nil {
		salt, name, err = decodeName(v)
	}
	if err != nil {
		return salt, name, false, fmt.Errorf("read name %d: %w", number, err)
	}
	return salt, name, true, nil
}

// Number returns the number of a name. ok is false if the log has no such name.
func (l *Log) Number(name audit.Name) (number uint64, ok bool, err error) {
	if err := l.use(); err != nil {
		return 0, false, err
	}
	defer l.users.Done()
	return l.number(appendKeyOf(nil, name.Kind, name.Text))
}
