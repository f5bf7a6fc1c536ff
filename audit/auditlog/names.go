package auditlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-im/postern/audit"
)

// maxCached bounds the numbers of names that are kept in memory. At about 100 B each
// they take 26 MB.
const maxCached = 1 << 18

// numbers finds the number of a name. Only the committer uses it.
type numbers struct {
	db *pebble.DB
	// last is the newest number.
	last uint64
	// young and old are the numbers used recently. When young is half of maxCached
	// long, it becomes old.
	young, old map[string]uint64
	// erased is the key that the write in progress erases. The database still has it.
	erased  string
	scratch []byte
}

// A newName is a name with its number and its salt.
type newName struct {
	number uint64
	salt   audit.Salt
	name   audit.Name
}

// find returns the number of a name. A new name gets the next number, and made is
// called for it. An erased name gets a new number when it is used again.
func (n *numbers) find(name audit.Name, made func(newName) error) (uint64, error) {
	n.scratch = appendKeyOf(n.scratch[:0], name.Kind, name.Text)
	if number, ok := n.young[string(n.scratch)]; ok {
		return number, nil
	}
	if number, ok := n.old[string(n.scratch)]; ok {
		n.cache(string(n.scratch), number)
		return number, nil
	}
	k := string(n.scratch)
	number, ok, err := n.stored(k)
	if err != nil {
		return 0, err
	}
	if ok {
		n.cache(k, number)
		return number, nil
	}
	fresh := newName{number: n.last + 1, name: name}
	rand.Read(fresh.salt[:]) // never fails
	if err := made(fresh); err != nil {
		return 0, err
	}
	n.last++
	n.cache(k, n.last)
	return n.last, nil
}

// stored looks a number up in the database.
func (n *numbers) stored(k string) (number uint64, ok bool, err error) {
	if k == n.erased {
		return 0, false, nil
	}
	v, closer, err := n.db.Get([]byte(k))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look up a name: %w", err)
	}
	defer closer.Close()
	number, err = decodeNumber(v)
	return number, err == nil, err
}

func (n *numbers) cache(k string, number uint64) {
	if n.young == nil || len(n.young) >= maxCached/2 {
		n.young, n.old = map[string]uint64{}, n.young
	}
	n.young[k] = number
}

// erase removes a name that the write in progress erases. If that write uses the name
// again, for example in the mark of the erasure, the name gets another number.
func (n *numbers) erase(k string) {
	delete(n.young, k)
	delete(n.old, k)
	n.erased = k
}

func encodeName(n newName) []byte {
	b := append([]byte(nil), n.salt[:]...)
	b = append(b, byte(n.name.Kind))
	return append(b, n.name.Text...)
}

func decodeName(v []byte) (salt audit.Salt, name audit.Name, err error) {
	if len(v) < len(salt)+1 {
		return salt, name, fmt.Errorf("a name of %d bytes", len(v))
	}
	copy(salt[:], v)
	return salt, audit.Name{Kind: audit.NameKind(v[len(salt)]), Text: append([]byte(nil), v[len(salt)+1:]...)}, nil
}

// decodeNumber reads a value under prefixJID.
func decodeNumber(v []byte) (uint64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("the number of a name has %d bytes", len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}
