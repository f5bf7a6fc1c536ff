package replica

import (
	"encoding/binary"
	"fmt"

	"github.com/postern-im/postern/events"
)

// maxRecords bounds the records of one batch. It is the number of commits that a
// stand-alone log takes in one append.
const maxRecords = 1024

// A batch is the entry with the records of one append. It names the generation, so
// that an offer of a node that does not belong to the cluster is not taken.
//
// appendBatch appends the encoding of a batch to dst. It refuses more records than
// readBatch accepts.
func appendBatch(dst []byte, generation [16]byte, records [][]byte) ([]byte, error) {
	size := 0
	for _, record := range records {
		size += len(record)
	}
	if len(records) > maxRecords || size > events.MaxSize {
		return nil, fmt.Errorf("%d records of %d bytes: %w", len(records), size, events.ErrTooLarge)
	}
	dst = append(append(dst, kindBatch), generation[:]...)
	for _, record := range records {
		dst = append(binary.AppendUvarint(dst, uint64(len(record))), record...)
	}
	return dst, nil
}

// readBatch returns the generation and the records of a batch. The records are parts
// of data.
func readBatch(data []byte) (generation [16]byte, records [][]byte, err error) {
	if len(data) > MaxEntry {
		return generation, nil, fmt.Errorf("batch of %d bytes: %w", len(data), errTooLarge)
	}
	r := reader{b: data}
	if r.byte() != kindBatch {
		r.fail(errMalformed)
	}
	r.fill(generation[:])
	for r.err == nil && len(r.b) > 0 {
		if len(records) == maxRecords {
			r.fail(errTooLarge)
			break
		}
		records = append(records, r.bytes(events.MaxSize))
	}
	if len(records) == 0 {
		r.fail(errMalformed)
	}
	if err := r.finish(); err != nil {
		return generation, nil, fmt.Errorf("batch: %w", err)
	}
	return generation, records, nil
}
