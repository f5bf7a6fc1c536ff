package auditlog

import (
	"encoding/binary"

	"github.com/postern-im/postern/audit"
)

// The keys of the log. Numbers are big-endian, so that keys sort in numerical order.
//
//	e|leaf            → 0x01 and the entry, or 0x00 and its leaf hash if it was removed
//	t|index           → a hash of the tree at treeLevel or above, 32 bytes; index as
//	                    tlog.StoredHashIndex has it. The hashes below are made again
//	                    from the entries
//	n|number          → salt, kind and text of a name; none if it was erased
//	j|kind|text       → the number of a name, 8 bytes
//	k|leaves          → a checkpoint that is kept for good
//	m|format, m|id    → format version, id of this tree
//	m|head            → leaves, hash of the tree, newest name, newest time
const (
	prefixEntry = "e|"
	prefixHash  = "t|"
	prefixName  = "n|"
	prefixJID   = "j|"

	keyFormat = "m|format"
	keyID     = "m|id"
	keyHead   = "m|head"

	formatVersion = "1"
)

func appendKey(dst []byte, prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, prefix...), n)
}

func key(prefix string, n uint64) []byte { return appendKey(nil, prefix, n) }

func appendKeyOf(dst []byte, kind audit.NameKind, text []byte) []byte {
	return append(append(append(dst, prefixJID...), byte(kind)), text...)
}
