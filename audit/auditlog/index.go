package auditlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/audit"
	"github.com/postern-im/postern/decision"
)

// The index finds the entries that have a term. It is made behind the committer, in
// chunks of chunkRecords records, and can be made again from the entries. Newer
// entries, which are in no chunk yet, are searched one by one.
//
//	i|dimension|value|chunk → the leaves of the chunk that have the term
//	c|chunk                 → the first leaf of the chunk, and the first after it
//	m|indexed               → the number of chunks
const (
	prefixTerm  = "i|"
	prefixChunk = "c|"
	keyIndexed  = "m|indexed"

	// chunkRecords is about how many records a chunk has. Larger chunks make the
	// index smaller, and the search of what is not indexed longer.
	chunkRecords = 1 << 16
)

// A dimension is a kind of term. The bytes are part of the format.
type dimension byte

const (
	byAccount    dimension = 'a' // number of a name
	byPeer       dimension = 'p' // number of a name
	byDomain     dimension = 'd' // the peer's domain
	bySession    dimension = 's'
	byTenant     dimension = 't'
	byPermission dimension = 'm' // the first missing permission
	byEffect     dimension = 'f' // every effect but pass
	byKind       dimension = 'k' // every kind but verdict
	unreadable   dimension = 'u' // entries with terms that are not known; every query reads them
)

// A term is a dimension and its value.
type term struct {
	dimension dimension
	value     string
}

func numberTerm(d dimension, n uint64) term {
	return term{d, string(binary.BigEndian.AppendUint64(nil, n))}
}

// keyTerm returns the key of a term in a chunk. The length stands before the value, so
// that no value is the beginning of another.
func keyTerm(t term, chunk uint64) []byte {
	k := append([]byte(prefixTerm), byte(t.dimension))
	k = binary.BigEndian.AppendUint16(k, uint16(len(t.value)))
	return binary.BigEndian.AppendUint64(append(k, t.value...), chunk)
}

// An indexer collects the terms of one chunk.
type indexer struct {
	terms   map[term][]uint64 // ascending leaves
	records int
	judged  audit.Judged
	// domainOf returns the domain of the peer with a number, or "" if the name was
	// erased.
	domainOf func(number uint64) (string, error)
}

func (x *indexer) put(t term, leaf uint64) {
	list := x.terms[t]
	if n := len(list); n == 0 || list[n-1] != leaf {
		x.terms[t] = append(list, leaf)
	}
}

// add adds the terms of an entry. An entry with a part that cannot be read gets a term
// that says so.
func (x *indexer) add(leaf uint64, e *audit.Entry) {
	x.records += len(e.Items)
	x.put(term{byTenant, string(e.Tenant)}, leaf)
	for i := range e.Sessions {
		s := &e.Sessions[i]
		x.put(term{bySession, string(s.ID)}, leaf)
		if s.Account != 0 {
			x.put(numberTerm(byAccount, s.Account), leaf)
		}
	}
	for _, b := range e.Judged {
		if audit.DecodeJudged(b, &x.judged) != nil {
			x.put(term{dimension: unreadable}, leaf)
			continue
		}
		if x.judged.Effect != decision.Pass {
			x.put(term{byEffect, string(rune(x.judged.Effect))}, leaf)
		}
		if x.judged.Permission != "" {
			x.put(term{byPermission, x.judged.Permission}, leaf)
		}
	}
	for i := range e.Items {
		it := &e.Items[i]
		if it.Kind != audit.VerdictKind {
			x.put(term{byKind, string(rune(it.Kind))}, leaf)
		}
		if it.Peer == 0 {
			continue
		}
		x.put(numberTerm(byPeer, it.Peer), leaf)
		switch domain, err := x.domainOf(it.Peer); {
		case err != nil:
			x.put(term{dimension: unreadable}, leaf)
		case domain != "":
			x.put(term{byDomain, domain}, leaf)
		}
	}
}

// chunk is the range of leaves of a chunk.
type chunk struct{ first, after uint64 }

// chunks returns the chunks of the index, in order.
func (l *Log) chunks() (list []chunk, err error) {
	v, err := l.get([]byte(keyIndexed))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	count, err := decodeNumber(v)
	if err != nil {
		return nil, err
	}
	for n := range count {
		v, err := l.get(key(prefixChunk, n))
		if err != nil {
			return nil, fmt.Errorf("read chunk %d of the index: %w", n, err)
		}
		first, a := binary.Uvarint(v)
		after, b := binary.Uvarint(v[max(a, 0):])
		if a <= 0 || b <= 0 || after <= first {
			return nil, fmt.Errorf("chunk %d of the index is damaged", n)
		}
		list = append(list, chunk{first, after})
	}
	return list, nil
}

// index makes chunks as soon as there are enough records, until ctx ends. An error
// means that the index cannot be made; queries then search the entries one by one.
func (l *Log) index(ctx context.Context) error {
	if err := l.use(); err != nil {
		return err
	}
	defer l.users.Done()
	done, err := l.chunks()
	if err != nil {
		return err
	}
	leaf := uint64(0)
	if n := len(done); n > 0 {
		leaf = done[n-1].after
	}
	for n := uint64(len(done)); ; n++ {
		if leaf, err = l.makeChunk(ctx, n, leaf); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// errChunkFull ends the scan of a chunk.
var errChunkFull = errors.New("the chunk is full")

// makeChunk waits for the records of a chunk that begins at a leaf, writes it, and
// returns the leaf after it.
func (l *Log) makeChunk(ctx context.Context, n, first uint64) (next uint64, err error) {
	x := &indexer{terms: map[term][]uint64{}, domainOf: l.domains()}
	next = first
	for x.records < l.chunkRecords {
		leaves, err := l.Wait(ctx, next)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		err = l.Entries(ctx, next, leaves, func(leaf uint64, e *audit.Entry, bad error) error {
			next = leaf + 1
			switch {
			case bad == nil:
				x.add(leaf, e)
			case !errors.Is(bad, ErrRemoved): // a removed entry has no terms
				x.put(term{dimension: unreadable}, leaf)
			}
			if x.records >= l.chunkRecords {
				return errChunkFull
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return next, nil
		case err != nil && !errors.Is(err, errChunkFull):
			return next, err
		}
	}
	b := l.db.NewBatch()
	defer b.Close()
	for t, leaves := range x.terms {
		if err := b.Set(keyTerm(t, n), appendLeaves(nil, first, leaves), nil); err != nil {
			return next, err
		}
	}
	err = errors.Join(
		b.Set(key(prefixChunk, n), binary.AppendUvarint(binary.AppendUvarint(nil, first), next), nil),
		b.Set([]byte(keyIndexed), key("", n+1), nil),
		b.Commit(pebble.NoSync), // a crash loses the newest chunks, which are made again
	)
	return next, err
}

// domains returns a function that finds the domain of a name, and remembers those that
// it has found.
func (l *Log) domains() func(number uint64) (string, error) {
	known := map[uint64]string{}
	return func(number uint64) (string, error) {
		if d, ok := known[number]; ok {
			return d, nil
		}
		_, name, _, err := l.Name(number)
		if err != nil {
			return "", err
		}
		known[number] = string(audit.DomainOf(name.Text))
		return known[number], nil
	}
}

// appendLeaves appends ascending leaves, each as its distance from the one before.
func appendLeaves(dst []byte, first uint64, leaves []uint64) []byte {
	for _, leaf := range leaves {
		dst = binary.AppendUvarint(dst, leaf-first)
		first = leaf
	}
	return dst
}

func decodeLeaves(b []byte, c chunk) (leaves []uint64, err error) {
	leaf := c.first
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		leaf += d
		if n <= 0 || leaf < c.first || leaf >= c.after {
			return nil, errors.New("a list of the index is damaged")
		}
		leaves = append(leaves, leaf)
		b = b[n:]
	}
	return leaves, nil
}
