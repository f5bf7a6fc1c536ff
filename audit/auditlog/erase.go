package auditlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/audit"
)

// ErrUnknownName means that the log has no such name.
var ErrUnknownName = errors.New("the log has no such name")

// An erasure is a name that the committer removes.
type erasure struct {
	name   audit.Name
	by     string
	reason string
	number uint64 // the result
}

// Erase removes a name. Records that use it have only its number from then on, and the
// tree stays as it is. A mark in the log says which number was erased, by which actor
// and why; the mark does not have the name. If the name is used again, it gets another
// number.
//
// When Erase returns, no table of the log has the name any more. The bytes of a former
// write-ahead log have it until Pebble uses the file again, and backups have it until
// they are deleted. ErrUnknownName means that there was nothing to erase.
func (l *Log) Erase(ctx context.Context, at time.Time, name audit.Name, by, reason string) (number uint64, err error) {
	e := &erasure{name: name, by: by, reason: reason}
	if err := l.hand(&pending{group: &audit.Group{At: at}, erase: e, done: make(chan error, 1)}); err != nil {
		return 0, err
	}
	if err := l.use(); err != nil {
		return e.number, err
	}
	defer l.users.Done()
	// Deleted keys stay in Pebble's tables until these are merged.
	if err := l.db.Flush(); err != nil {
		return e.number, fmt.Errorf("erase name %d from the tables: %w", e.number, err)
	}
	for _, r := range [][2][]byte{
		{key(prefixName, e.number), key(prefixName, e.number+1)},
		{appendKeyOf(nil, name.Kind, name.Text), append(appendKeyOf(nil, name.Kind, name.Text), 0)},
	} {
		if err := l.db.Compact(ctx, r[0], r[1], false); err != nil {
			return e.number, fmt.Errorf("erase name %d from the tables: %w", e.number, err)
		}
	}
	return e.number, nil
}

// erase prepares the removal of a name in the batch, and adds the mark to the group.
func (w *writer) erase(p *pending) error {
	e := p.erase
	k := appendKeyOf(nil, e.name.Kind, e.name.Text)
	number, ok, err := w.log.number(k)
	if err != nil {
		return err
	}
	if !ok {
		return ErrUnknownName
	}
	e.number = number
	w.numbers.erase(string(k))
	p.group.Records = []audit.Record{{Kind: audit.MarkKind, Body: &audit.Mark{
		Mark: audit.ErasedMark, By: e.by, Reason: e.reason, Values: []string{strconv.FormatUint(number, 10)},
	}}}
	return errors.Join(w.batch.Delete(key(prefixName, number), nil), w.batch.Delete(k, nil))
}

// number returns the number under a key of prefixJID.
func (l *Log) number(k []byte) (number uint64, ok bool, err error) {
	v, err := l.get(k)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up a name: %w", err)
	}
	n, err := decodeNumber(v)
	return n, err == nil, err
}
