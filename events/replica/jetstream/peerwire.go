package jetstream

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/postern-im/postern/events"
)

// The first byte of each message between nodes, except for states, is its kind.
const (
	kindHave    = 1 // position, then the asker's id
	kindName    = 2 // the answering node's id
	kindRange   = 3 // first and last position
	kindPart    = 4 // whether it is the last, first position, then each record with its length
	kindRefusal = 5 // a text
)

const (
	// maxLength is the longest encoding of a record's length.
	maxLength = 4
	// partOverhead is the size of a part without records, at most.
	partOverhead = 2 + binary.MaxVarintLen64
	// maxID bounds the id of a node in bytes.
	maxID = 128
	// maxText bounds the text of a refusal in bytes.
	maxText = 1024
)

var errMessage = errors.New("a message of another node is malformed")

// A part is one message of an answer with records.
type part struct {
	first   events.Position
	last    bool // the answer ends with it
	records [][]byte
}

func appendHave(b []byte, p events.Position, asker string) []byte {
	return append(binary.AppendUvarint(append(b, kindHave), uint64(p)), asker...)
}

func readHave(b []byte) (p events.Position, asker string, err error) {
	b, err = ofKind(b, kindHave)
	if err != nil {
		return 0, "", err
	}
	p, b, err = position(b)
	if err != nil || len(b) == 0 || len(b) > maxID {
		return 0, "", errMessage
	}
	return p, string(b), nil
}

func appendName(b []byte, node string) []byte { return append(append(b, kindName), node...) }

func readName(b []byte) (string, error) {
	b, err := ofKind(b, kindName)
	if err != nil || len(b) == 0 || len(b) > maxID {
		return "", errMessage
	}
	return string(b), nil
}

func appendRange(b []byte, from, to events.Position) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(b, kindRange), uint64(from)), uint64(to))
}

func readRange(b []byte) (from, to events.Position, err error) {
	if b, err = ofKind(b, kindRange); err != nil {
		return 0, 0, err
	}
	if from, b, err = position(b); err != nil {
		return 0, 0, err
	}
	to, b, err = position(b)
	if err != nil || len(b) > 0 || from == 0 || from > to {
		return 0, 0, errMessage
	}
	return from, to, nil
}

func appendPart(b []byte, p part) []byte {
	last := byte(0)
	if p.last {
		last = 1
	}
	b = binary.AppendUvarint(append(b, kindPart, last), uint64(p.first))
	for _, r := range p.records {
		b = append(binary.AppendUvarint(b, uint64(len(r))), r...)
	}
	return b
}

// readPart reads a part. Its records are parts of b. The text of a refusal is an
// error.
func readPart(b []byte) (p part, err error) {
	if text, err := ofKind(b, kindRefusal); err == nil {
		return part{}, fmt.Errorf("the other node refuses: %q", text[:min(len(text), maxText)])
	}
	if b, err = ofKind(b, kindPart); err != nil {
		return part{}, err
	}
	if len(b) == 0 || b[0] > 1 {
		return part{}, errMessage
	}
	p.last = b[0] == 1
	if p.first, b, err = position(b[1:]); err != nil {
		return part{}, err
	}
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n == 0 || n > uint64(len(b)-size) {
			return part{}, errMessage
		}
		b = b[size:]
		p.records = append(p.records, b[:n:n])
		b = b[n:]
	}
	if len(p.records) == 0 {
		return part{}, errMessage
	}
	return p, nil
}

func appendRefusal(b []byte, text string) []byte {
	return append(append(b, kindRefusal), text[:min(len(text), maxText)]...)
}

// ofKind returns the rest of a message of a kind.
func ofKind(b []byte, kind byte) ([]byte, error) {
	if len(b) == 0 || b[0] != kind {
		return nil, errMessage
	}
	return b[1:], nil
}

func position(b []byte) (events.Position, []byte, error) {
	p, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errMessage
	}
	return events.Position(p), b[n:], nil
}
