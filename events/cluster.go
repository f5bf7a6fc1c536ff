package events

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// A cluster is a set of nodes with copies of one log. A sequencer puts entries
// into one order that all nodes read, and each node takes the commits from the
// entries into its own log. The first entry is the Generation.

// MaxClusterName bounds the name of a cluster in bytes. A NATS server uses the
// name as its cluster's name, and operators type it.
const MaxClusterName = 63

// GenerationKind is the first byte of an encoded Generation. It distinguishes a
// Generation from the other entries of the sequencer.
const GenerationKind = 3

// generationVersion is the second byte of an encoded Generation.
const generationVersion = 1

// logIDLength is the length of a log id: 16 bytes in lower-case hex.
const logIDLength = 32

// A Cursor is a place in the order of one generation's entries. A log's cursor is
// the last entry that the log has applied.
type Cursor struct {
	Generation [16]byte // the ID of the Generation
	Seq        uint64   // the sequencer's number of the entry
}

// A Generation is the beginning of a cluster's common order. All commits up to
// Position existed before, all later ones are ordered by the sequencer. A cluster
// gets a new generation when it is created, and when an operator continues it
// from one node's log after the sequencer's data was lost.
type Generation struct {
	// ID is random and not zero. Entries, cursors and nodes of another generation
	// are refused.
	ID [16]byte
	// Cluster is the cluster's name; see CheckClusterName.
	Cluster string
	// LogID is the id of the log that all nodes have.
	LogID string
	// Position and Hash are the head of that log when the generation began. Both
	// are zero if the log was empty.
	Position Position
	Hash     [32]byte
}

// AppendGeneration appends the encoding of g to dst: the sequencer's first entry,
// and the value that a log stores. The same Generation always gives the same
// bytes. AppendGeneration does not check g; DecodeGeneration does.
//
// The bytes are GenerationKind, the encoding's version, the ID, the Position as a
// varint, the Hash, and the log id and the name, each after its length in one
// byte.
func AppendGeneration(dst []byte, g *Generation) []byte {
	dst = append(dst, GenerationKind, generationVersion)
	dst = append(dst, g.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(g.Position))
	dst = append(dst, g.Hash[:]...)
	dst = append(append(dst, byte(len(g.LogID))), g.LogID...)
	return append(append(dst, byte(len(g.Cluster))), g.Cluster...)
}

// DecodeGeneration decodes a Generation. It accepts only the bytes that
// AppendGeneration writes for a complete and valid Generation.
func DecodeGeneration(b []byte) (Generation, error) {
	g, err := decodeGeneration(string(b))
	if err != nil {
		return Generation{}, fmt.Errorf("events: generation: %w", err)
	}
	return g, nil
}

func decodeGeneration(s string) (g Generation, err error) {
	if len(s) < 2 || s[0] != GenerationKind {
		return g, ErrMalformed
	}
	if s[1] != generationVersion {
		return g, fmt.Errorf("version %d: %w", s[1], ErrUnknownValue)
	}
	s = s[2:]
	if len(s) < len(g.ID) {
		return g, ErrMissing
	}
	s = s[copy(g.ID[:], s):]
	position, size := uvarint(s)
	if size == 0 {
		return g, ErrMalformed
	}
	g.Position, s = Position(position), s[size:]
	if len(s) < len(g.Hash) {
		return g, ErrMissing
	}
	s = s[copy(g.Hash[:], s):]
	for _, p := range []*string{&g.LogID, &g.Cluster} {
		if s == "" || len(s)-1 < int(s[0]) {
			return g, ErrMissing
		}
		n := int(s[0])
		*p, s = s[1:1+n], s[1+n:]
	}
	if s != "" {
		return g, fmt.Errorf("%d bytes left over: %w", len(s), ErrMalformed)
	}
	return g, g.Check()
}

// Check returns an error if g is not valid: an ID of zeros, a name that no cluster
// may have, a log id that no log has, or a Hash that does not agree with Position.
func (g *Generation) Check() error {
	if g.ID == [16]byte{} {
		return fmt.Errorf("id: %w", ErrMissing)
	}
	if err := CheckClusterName(g.Cluster); err != nil {
		return err
	}
	id, err := hex.DecodeString(g.LogID)
	if err != nil || len(g.LogID) != logIDLength || hex.EncodeToString(id) != g.LogID {
		return fmt.Errorf("log id %q: %w", g.LogID, ErrMalformed)
	}
	if (g.Position == 0) != (g.Hash == [32]byte{}) {
		return fmt.Errorf("hash at position %d: %w", g.Position, ErrMalformed)
	}
	return nil
}

// CheckClusterName returns an error unless name can be a cluster's name: letters
// and digits of ASCII, "-" and "_", at most MaxClusterName of them.
func CheckClusterName(name string) error {
	if name == "" {
		return errors.New("a cluster needs a name")
	}
	if len(name) > MaxClusterName {
		return fmt.Errorf("the cluster's name has %d bytes, more than %d", len(name), MaxClusterName)
	}
	valid := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !valid(r) }) {
		return fmt.Errorf("the cluster's name %q has characters other than letters, digits, \"-\" and \"_\"", name)
	}
	return nil
}

// Level is the highest number of an event that this version reads. Nodes announce
// it, because a node must not order an event that another node cannot read.
//
// A version that adds a field or a value to an existing event must raise Level too:
// it reserves the next event number, and LevelOf returns this number for an event
// that has the field or value.
const Level uint64 = 30

// ClusterLevel is the Level of the first version with clusters. Every node of a cluster
// reads the events up to it, also a node that has not announced its Level.
const ClusterLevel uint64 = 30

// LevelOf returns the lowest Level of a version that reads e.
func LevelOf(e Event) uint64 {
	n, _, _ := protowire.ConsumeTag(e.encode(nil))
	return uint64(n)
}
