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
	scratch    []byte
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
	v, closer, err := n.db.Get(n.scratch)
	switch {
	case err == nil:
		defer closer.Close()
		number, err := decodeNumber(v)
		if err != nil {
			return 0, err
		}
		n.cache(k, number)
		return number, nil
	case !errors.Is(err, pebble.ErrNotFound):
		return 0, fmt.Errorf("look up a name: %w", err)
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

func (n *numbers) cache(k string, number uint64) {
	if n.young == nil || len(n.young) >= maxCached/2 {
		n.young, n.old = map[string]uint64{}, n.young
	}
	n.young[k] = number
}

// forget removes a name from memory.
func (n *numbers) forget(k string) {
	delete(n.young, k)
	delete(n.old, k)
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
