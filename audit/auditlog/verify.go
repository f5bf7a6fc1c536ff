package auditlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/postern-im/postern/audit"
)

// block is the number of leaves under one stored hash.
const block = 1 << treeLevel

// maxBad bounds the list of findings of a Report. The others are only counted.
const maxBad = 100

// A Finding is something wrong in a range of leaves.
type Finding struct {
	// First and Last are the leaves. The tree stores one hash for 256 leaves, so an
	// entry that was changed and can still be decoded is found in such a range.
	First, Last uint64
	Err         error
}

func (f Finding) String() string {
	if f.First == f.Last {
		return fmt.Sprintf("entry %d: %v", f.First, f.Err)
	}
	return fmt.Sprintf("entries %d to %d: %v", f.First, f.Last, f.Err)
}

// A Report is the result of Verify.
type Report struct {
	// Tree is the tree that the log says it has.
	Tree tlog.Tree
	// Entries and Records were read. Removed entries have only their hash. Unknown
	// entries are of a version that this program does not read; their hash counts.
	Entries, Records, Removed, Unknown uint64
	// Names were compared with their commitment. Erased names were not.
	Names, Erased uint64
	// Bad are the first findings, and Count is the number of all.
	Bad   []Finding
	Count uint64
}

func (r *Report) add(first, last uint64, err error) {
	if r.Count++; len(r.Bad) < maxBad {
		r.Bad = append(r.Bad, Finding{first, last, err})
	}
}

// Verify reads the whole log. It hashes each entry, compares the hashes with those
// that the tree stores and with trees that the caller knows from checkpoints, and
// compares each name with the commitment of the entry that introduced it. It goes on
// after a finding. progress, if not nil, gets the number of leaves read so far.
//
// An error means that the log was not read to its end, for example because ctx ended.
func (l *Log) Verify(ctx context.Context, known []tlog.Tree, progress func(leaves uint64)) (*Report, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.users.Done()
	v := &verifier{log: l, known: slices.Clone(known), report: &Report{Tree: l.Tree()}}
	slices.SortFunc(v.known, func(a, b tlog.Tree) int { return int(a.N - b.N) })
	leaves := uint64(v.report.Tree.N)
	v.check()
	for first := uint64(0); first < leaves; first += block {
		if err := ctx.Err(); err != nil {
			return v.report, fmt.Errorf("verify entries from %d: %w", first, err)
		}
		v.block(first, min(first+block, leaves))
		if progress != nil {
			progress(min(first+block, leaves))
		}
	}
	if v.root() != v.report.Tree.Hash && v.report.Count == 0 {
		v.report.add(leaves/block*block, max(leaves, 1)-1, errors.New("the newest entries do not have the hash of the log's head"))
	}
	if v.anyGone {
		v.report.add(v.firstGone, v.lastGone, errors.New("entries were removed, and no mark says so"))
	}
	for _, c := range v.known { // those that are left reach further than the log
		v.report.add(leaves, uint64(c.N)-1, fmt.Errorf("entries are missing at the end: a checkpoint has %d, and the log %d", c.N, leaves))
	}
	return v.report, nil
}

// A verifier is the state of one Verify.
type verifier struct {
	log    *Log
	report *Report
	entry  audit.Entry
	// top has the hashes of whole blocks as its leaves, and tail the leaves of the
	// block being read.
	top, tail edge
	// known are the trees that are not reached yet, by size. agreed is the size of the
	// newest one that the log has.
	known  []tlog.Tree
	agreed uint64
	// firstGone and lastGone are the first and the last removed leaf that no mark so
	// far covers. anyGone reports that there is one.
	firstGone, lastGone uint64
	anyGone             bool
}

// root returns the hash of the tree of everything read so far.
func (v *verifier) root() tlog.Hash {
	all := edge{hashes: append(slices.Clone(v.top.hashes), v.tail.hashes...)}
	return all.root()
}

// check compares the tree read so far with the known trees of its size.
func (v *verifier) check() {
	size := int64(v.top.leaves*block + v.tail.leaves)
	for len(v.known) > 0 && v.known[0].N <= size {
		c := v.known[0]
		v.known = v.known[1:]
		if v.root() == c.Hash {
			v.agreed = uint64(c.N)
			continue
		}
		v.report.add(v.agreed, uint64(max(c.N, 1))-1, fmt.Errorf("the log is not the one that was signed: a checkpoint of %d entries has another hash", c.N))
	}
}

// block reads the leaves from first to before after, at most a whole block. If one of
// them is wrong, the stored hash of the block takes its place, so that the blocks after
// it are judged by themselves.
func (v *verifier) block(first, after uint64) {
	v.tail = edge{}
	err := scan(v.log.db, first, after, func(leaf uint64, value []byte) error {
		h, err := leafHash(value)
		if err != nil {
			return &DamagedError{leaf, err}
		}
		if value[0] == removed {
			v.report.Removed++
			if !v.anyGone {
				v.firstGone, v.anyGone = leaf, true
			}
			v.lastGone = leaf
		} else {
			v.decode(leaf, value[1:])
		}
		v.tail.add(h, func(int, int64, tlog.Hash) {})
		v.check()
		return nil
	})
	if damaged, ok := errors.AsType[*DamagedError](err); ok {
		v.report.add(damaged.Leaf, damaged.Leaf, damaged.Err)
	} else if err != nil {
		v.report.add(first, after-1, err)
	}
	if after-first < block {
		return
	}
	stored, e := readHash(v.log.db, tlog.StoredHashIndex(treeLevel, int64(first/block)))
	switch {
	case e != nil:
		v.report.add(first, after-1, e)
		stored = v.tail.root()
	case err == nil && stored != v.tail.root():
		v.report.add(first, after-1, errors.New("an entry was changed, or its place: the entries do not have the hash that was stored with them"))
	}
	v.tail = edge{}
	v.top.add(stored, func(level int, n int64, h tlog.Hash) {
		above, err := readHash(v.log.db, tlog.StoredHashIndex(level+treeLevel, n))
		if err == nil && above != h {
			err = errors.New("a hash of the tree was changed")
		}
		if err != nil {
			v.report.add(uint64(n)*block<<level, after-1, err)
		}
	})
	if err != nil {
		v.check()
	}
}

// marks reads the marks of an entry: which removed entries before it are accounted for.
func (v *verifier) marks() {
	for i := range v.entry.Items {
		if v.entry.Items[i].Kind != audit.MarkKind {
			continue
		}
		var r audit.Record
		if v.entry.Record(i, func(uint64) []byte { return nil }, &r) != nil {
			continue // Records of this kind are checked when they are read
		}
		mark := r.Body.(*audit.Mark)
		if mark.Mark != audit.PrunedMark || len(mark.Values) != 1 {
			continue
		}
		if last, err := strconv.ParseUint(mark.Values[0], 10, 64); err == nil && v.anyGone && last >= v.lastGone {
			v.anyGone = false
		}
	}
}

// decode checks that an entry can be read, and the names that it introduces.
func (v *verifier) decode(leaf uint64, b []byte) {
	err := audit.DecodeEntry(b, &v.entry)
	if _, unknown := errors.AsType[*audit.VersionError](err); unknown {
		v.report.Unknown++
		return
	}
	if err != nil {
		v.report.add(leaf, leaf, err)
		return
	}
	v.report.Entries++
	v.report.Records += uint64(len(v.entry.Items))
	v.marks()
	for i := range v.entry.Introduces {
		in := &v.entry.Introduces[i]
		salt, name, ok, err := v.log.Name(in.Number)
		switch {
		case err != nil:
			v.report.add(leaf, leaf, err)
		case !ok:
			v.report.Erased++
		case name.Commit(salt) != in.Commitment:
			v.report.add(leaf, leaf, fmt.Errorf("name %d is not the one that the entry introduced", in.Number))
		default:
			v.report.Names++
		}
	}
}
