package eventlog

import (
	"cmp"

	"github.com/cockroachdb/pebble/v2"
)

// Chunks returns the number of chunks of snapshots, finished or not.
func (l *Log) Chunks() (n int, err error) {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefixChunk), UpperBound: after(prefixChunk)})
	if err != nil {
		return 0, err
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		n++
	}
	return n, cmp.Or(iter.Error(), iter.Close())
}
