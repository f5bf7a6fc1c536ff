package auditlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/audit"
)

// ErrEnough ends a Find without an error.
var ErrEnough = errors.New("enough records")

// Found says how complete the result of a Find is.
type Found struct {
	// Records were found. Searched entries were decoded for it.
	Records  int
	Searched uint64
	// Unreadable entries are damaged or of a later version, and may have more records.
	Unreadable uint64
	// More: the limit was reached, and older records may match too.
	More bool
}

// Find calls fn for the records that match, newest first. The record is valid until fn
// returns. The records of an entry are in their order from the last to the first. If fn
// returns ErrEnough, Find ends without an error.
func (l *Log) Find(ctx context.Context, q *audit.Query, fn func(audit.Ref, *audit.Record) error) (Found, error) {
	f := &finding{log: l, q: q, fn: fn, names: map[uint64][]byte{}}
	if err := l.use(); err != nil {
		return f.found, err
	}
	defer l.users.Done()
	err := f.run(ctx)
	if errors.Is(err, ErrEnough) {
		err = nil
	}
	if err != nil {
		return f.found, fmt.Errorf("search the audit log: %w", err)
	}
	return f.found, nil
}

// A finding is the state of one Find.
type finding struct {
	log   *Log
	q     *audit.Query
	fn    func(audit.Ref, *audit.Record) error
	found Found

	account, peer uint64 // numbers; 0: not asked for
	domain        bool   // the peer is a domain
	entry         audit.Entry
	record        audit.Record
	judged        audit.Judged
	names         map[uint64][]byte
	missing       error // an error while a name was read
}

func (f *finding) run(ctx context.Context) error {
	terms, ok, err := f.terms()
	if err != nil || !ok {
		return err
	}
	chunks, err := f.log.chunks()
	if err != nil {
		return err
	}
	end := uint64(f.log.Tree().N)
	if f.q.Before != nil && f.q.Before.Leaf < end {
		end = f.q.Before.Leaf + 1
	}
	indexed := uint64(0)
	if n := len(chunks); n > 0 {
		indexed = chunks[n-1].after
	}
	if err := f.backwards(ctx, indexed, end); err != nil {
		return err
	}
	for n := len(chunks) - 1; n >= 0; n-- {
		c := chunks[n]
		if c.first >= end {
			continue
		}
		if len(terms) == 0 {
			err = f.backwards(ctx, c.first, min(c.after, end))
		} else {
			err = f.chunk(ctx, terms, c, uint64(n), end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// terms returns the terms that every matching entry has. ok is false if no record can
// match, because the log does not have a name.
func (f *finding) terms() (terms []term, ok bool, err error) {
	q := f.q
	if q.Tenant != "" {
		terms = append(terms, term{byTenant, q.Tenant})
	}
	if q.Session != "" {
		terms = append(terms, term{bySession, q.Session})
	}
	if q.Permission != "" {
		terms = append(terms, term{byPermission, q.Permission})
	}
	if len(q.Effects) == 1 && q.Effects[0].String() != "pass" {
		terms = append(terms, term{byEffect, string(rune(q.Effects[0]))})
	}
	if len(q.Kinds) == 1 && q.Kinds[0] != audit.VerdictKind {
		terms = append(terms, term{byKind, string(rune(q.Kinds[0]))})
	}
	number := func(text string) (uint64, error) {
		n, _, err := f.log.Number(audit.Name{Kind: audit.JIDName, Text: []byte(text)})
		return n, err
	}
	if q.Account != "" {
		if f.account, err = number(q.Account); err != nil || f.account == 0 {
			return nil, false, err
		}
		terms = append(terms, numberTerm(byAccount, f.account))
	}
	if q.Peer != "" {
		if f.domain = !bytes.ContainsRune([]byte(q.Peer), '@'); f.domain {
			return append(terms, term{byDomain, q.Peer}), true, nil
		}
		if f.peer, err = number(q.Peer); err != nil || f.peer == 0 {
			return nil, false, err
		}
		terms = append(terms, numberTerm(byPeer, f.peer))
	}
	return terms, true, nil
}

// chunk searches the entries of a chunk that have all terms, and those whose terms are
// not known. If a list of the index cannot be read, it searches all entries of the chunk.
func (f *finding) chunk(ctx context.Context, terms []term, c chunk, n, end uint64) error {
	leaves, err := f.leaves(terms, c, n)
	if err != nil {
		return f.backwards(ctx, c.first, min(c.after, end))
	}
	for _, leaf := range slices.Backward(leaves) {
		if leaf >= end {
			continue
		}
		if err := f.single(ctx, leaf); err != nil {
			return err
		}
	}
	return nil
}

// single searches one entry, or counts it if it is missing or cannot be read.
func (f *finding) single(ctx context.Context, leaf uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v, closer, err := f.log.db.Get(key(prefixEntry, leaf))
	if err != nil {
		f.found.Unreadable++
		return nil
	}
	return errors.Join(f.value(ctx, leaf, v), closer.Close())
}

// leaves returns the leaves of a chunk that may match, ascending.
func (f *finding) leaves(terms []term, c chunk, n uint64) ([]uint64, error) {
	var all []uint64
	for i, t := range terms {
		list, err := f.list(t, c, n)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			all = list
			continue
		}
		all = slices.DeleteFunc(all, func(leaf uint64) bool {
			_, both := slices.BinarySearch(list, leaf)
			return !both
		})
	}
	unknown, err := f.list(term{dimension: unreadable}, c, n)
	if err != nil || len(unknown) == 0 {
		return all, err
	}
	all = append(all, unknown...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// list returns the leaves of a chunk that have a term.
func (f *finding) list(t term, c chunk, n uint64) ([]uint64, error) {
	v, err := f.log.get(keyTerm(t, n))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeLeaves(v, c)
}

// backwards searches the entries from first to before after, from the last one. It
// counts those that are missing or cannot be read.
func (f *finding) backwards(ctx context.Context, first, after uint64) error {
	for first < after {
		left, err := f.part(ctx, first, after)
		if err != nil {
			return err
		}
		if after = left; first < after {
			// An iterator that moves backwards looks one entry ahead, so this one may
			// be good.
			after--
			if err := f.single(ctx, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// part searches like backwards, and ends before the first entry that cannot be read. The
// entries from left on were searched.
func (f *finding) part(ctx context.Context, first, after uint64) (left uint64, err error) {
	iter, err := f.log.db.NewIter(&pebble.IterOptions{LowerBound: key(prefixEntry, first), UpperBound: key(prefixEntry, after)})
	if err != nil {
		return after, err
	}
	defer iter.Close() // repeats the error of a damaged block
	left = after
	for iter.Last(); iter.Valid(); iter.Prev() {
		leaf, err := decodeNumber(iter.Key()[len(prefixEntry):])
		if err != nil || leaf != left-1 {
			return left, nil
		}
		v, err := iter.ValueAndErr()
		if err != nil {
			return left, nil
		}
		if err := f.value(ctx, leaf, v); err != nil {
			return left, err
		}
		left = leaf
	}
	return left, nil
}

// value searches one entry.
func (f *finding) value(ctx context.Context, leaf uint64, v []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(v) > 0 && v[0] == removed {
		return nil
	}
	f.found.Searched++
	if len(v) == 0 || audit.DecodeEntry(v[1:], &f.entry) != nil {
		f.found.Unreadable++
		return nil
	}
	e := &f.entry
	if f.q.Tenant != "" && string(e.Tenant) != f.q.Tenant {
		return nil
	}
	for i := len(e.Items) - 1; i >= 0; i-- {
		ref := audit.Ref{Leaf: leaf, Index: i}
		if f.q.Before != nil && !ref.Before(*f.q.Before) {
			continue
		}
		ok, err := f.matches(e, &e.Items[i])
		if err == nil && ok {
			err = f.give(e, ref)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// matches compares everything that needs no name but the peer's domain.
func (f *finding) matches(e *audit.Entry, it *audit.Item) (bool, error) {
	q := f.q
	switch {
	case len(q.Kinds) > 0 && !slices.Contains(q.Kinds, it.Kind),
		!q.Since.IsZero() && it.Time < q.Since.UnixMicro(),
		!q.Until.IsZero() && it.Time >= q.Until.UnixMicro(),
		f.peer != 0 && it.Peer != f.peer,
		f.domain && it.Peer == 0,
		(f.account != 0 || q.Session != "") && it.Session < 0:
		return false, nil
	}
	if it.Session >= 0 {
		s := &e.Sessions[it.Session]
		if f.account != 0 && s.Account != f.account || q.Session != "" && string(s.ID) != q.Session {
			return false, nil
		}
	}
	if len(q.Effects) > 0 || q.Permission != "" {
		if it.Kind != audit.VerdictKind {
			return false, nil
		}
		if err := audit.DecodeJudged(e.Judged[it.Judged], &f.judged); err != nil {
			f.found.Unreadable++
			return false, nil
		}
		if len(q.Effects) > 0 && !slices.Contains(q.Effects, f.judged.Effect) || q.Permission != "" && f.judged.Permission != q.Permission {
			return false, nil
		}
	}
	if f.domain {
		return string(audit.DomainOf(f.name(it.Peer))) == q.Peer, f.missing
	}
	return true, nil
}

// give hands a record to the caller.
func (f *finding) give(e *audit.Entry, ref audit.Ref) error {
	if f.q.Limit > 0 && f.found.Records == f.q.Limit {
		f.found.More = true
		return ErrEnough
	}
	if err := e.Record(ref.Index, f.name, &f.record); err != nil {
		f.found.Unreadable++
		return nil
	}
	if f.missing != nil {
		return f.missing
	}
	f.found.Records++
	return f.fn(ref, &f.record)
}

// maxNames bounds the names that one Find keeps.
const maxNames = 1 << 16

// name returns the text of a name, or a text that says that it was erased.
func (f *finding) name(number uint64) []byte {
	if text, ok := f.names[number]; ok {
		return text
	}
	_, n, ok, err := f.log.Name(number)
	if err != nil && f.missing == nil {
		f.missing = err
	}
	text := n.Text
	if !ok {
		text = fmt.Appendf(nil, "erased#%d", number)
	}
	if len(f.names) >= maxNames {
		clear(f.names)
	}
	f.names[number] = text
	return text
}
