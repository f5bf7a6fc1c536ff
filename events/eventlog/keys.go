package eventlog

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/postern-im/postern/events"
)

// The keys of the log. Numbers are big-endian, so that keys sort in numerical
// order. A tenant's id is preceded by one byte with its length. Therefore no
// tenant's keys begin with another tenant's, whatever bytes the ids contain,
// and no range over one tenant's keys contains another tenant's key.
//
//	e|position                  → record
//	t|len|tenant|position       → the tenant's version there, 8 bytes
//	w|time|position             → nothing, or that the clock had been set
//	                              back (see setBack); time in microseconds
//	c|len|tenant|command id     → position
//	a|position|chunk            → a piece of a snapshot; chunk is 4 bytes
//	s|position                  → the snapshot's manifest
//	m|format, m|id, m|head      → format version, log id, position and hash
//	m|origins                   → the logs from which it was restored (Origin)
//	m|cluster, m|creator        → the generation that the log is bound to, and
//	                              "1" on the node that has created it
//	m|cursor                    → the last entry that the log has applied
//	m|times                     → "1" once w| marks where the clock was set back
const (
	prefixCommit   = "e|"
	prefixTenant   = "t|"
	prefixTime     = "w|"
	prefixCommand  = "c|"
	prefixChunk    = "a|" // sorts before all others; see minChunk
	prefixSnapshot = "s|"

	keyFormat = "m|format"
	keyLogID  = "m|id"
	keyHead   = "m|head"
	keyTimes  = "m|times"

	keyOrigins = "m|origins"

	keyCluster = "m|cluster"
	keyCreator = "m|creator"
	keyCursor  = "m|cursor"

	formatVersion = "1"
	// formatBound is the format of a log that is bound to a cluster. A version
	// that knows no clusters refuses it; otherwise it would append to the log.
	formatBound = "2"

	logIDLength = 32 // hex digits
)

// An entry is one key of the log and its value.
type entry struct{ key, value []byte }

func keyCommit(p events.Position) string {
	return string(appendKeyCommit(nil, p))
}

// appendKeyCommit is keyCommit without an allocation for each key.
func appendKeyCommit(dst []byte, p events.Position) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefixCommit...), uint64(p))
}

// tenantPrefix is the common prefix of the keys of one kind and tenant. The
// callers have checked that the tenant's length is at most events.MaxID.
func tenantPrefix(prefix, tenant string) string {
	return string(appendTenantPrefix(nil, prefix, tenant))
}

func appendTenantPrefix(dst []byte, prefix, tenant string) []byte {
	return append(append(append(dst, prefix...), byte(len(tenant))), tenant...)
}

func keyTenant(tenant string, p events.Position) string {
	return string(appendKeyTenant(nil, tenant, p))
}

func appendKeyTenant(dst []byte, tenant string, p events.Position) []byte {
	return binary.BigEndian.AppendUint64(appendTenantPrefix(dst, prefixTenant, tenant), uint64(p))
}

func keyTime(t time.Time, p events.Position) string {
	return string(appendKeyTime(nil, t, p))
}

func appendKeyTime(dst []byte, t time.Time, p events.Position) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, prefixTime...), uint64(max(t.UnixMicro(), 0)))
	return binary.BigEndian.AppendUint64(dst, uint64(p))
}

func keyCommand(tenant, commandID string) string {
	return string(appendKeyCommand(nil, tenant, commandID))
}

func appendKeyCommand(dst []byte, tenant, commandID string) []byte {
	return append(appendTenantPrefix(dst, prefixCommand, tenant), commandID...)
}

func keySnapshot(p events.Position) string {
	return prefixSnapshot + u64(uint64(p))
}

// chunksAt is the common prefix of the keys of a snapshot's chunks.
func chunksAt(p events.Position) string {
	return prefixChunk + u64(uint64(p))
}

func keyChunk(p events.Position, chunk uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte(chunksAt(p)), chunk))
}

// timeOf returns the time in a key of the time index.
func timeOf(key []byte) (time.Time, error) {
	if len(key) != len(prefixTime)+8+8 {
		return time.Time{}, errors.New("not a key of the time index")
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(key[len(prefixTime):]))).UTC(), nil
}

// positionOf returns the position at the end of a key.
func positionOf(key []byte) (events.Position, error) {
	if len(key) < 8 {
		return 0, errors.New("key too short")
	}
	return events.Position(binary.BigEndian.Uint64(key[len(key)-8:])), nil
}

// after returns the exclusive end of the range of all keys with a prefix. None
// of our prefixes consists of 0xff bytes only.
func after(prefix string) []byte {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != math.MaxUint8 {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}

func u64(v uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return string(b[:])
}

func fromU64(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errors.New("not a number of 8 bytes")
	}
	return binary.BigEndian.Uint64(b), nil
}

func encodeHead(h head) []byte {
	return append([]byte(u64(uint64(h.position))), h.hash[:]...)
}

func decodeHead(b []byte) (h head, err error) {
	if len(b) != 8+len(h.hash) {
		return head{}, errors.New("not a head")
	}
	h.position = events.Position(binary.BigEndian.Uint64(b))
	copy(h.hash[:], b[8:])
	return h, nil
}
