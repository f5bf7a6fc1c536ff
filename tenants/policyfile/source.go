package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postern-im/postern/tenants"
)

// newSource refuses what is too large or no text.
func newSource(name string, data []byte) (*source, error) {
	if len(data) > MaxBytes {
		return nil, Errors{{File: name, Text: fmt.Sprintf("the file has more than %d bytes (%d MiB), the most that is read", MaxBytes, MaxBytes>>20)}}
	}
	s := &source{name: name, lines: newLines(data), fields: map[string]int{}, places: map[string]int{}}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, s.errors([]remark{{0, "begins with a byte order mark: save the file without one"}})
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, s.errors([]remark{{i, fmt.Sprintf("byte %#02x is not UTF-8: save the file as that", data[i])}})
	}
	return s, nil
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// source is what notes on a file need.
type source struct {
	name  string
	lines lines
	// fields says where the arguments of the command stand, by the name a
	// tenants.Error gives them.
	fields map[string]int
	places map[string]int // where each domain and service stands
}

// A remark is a note whose place is an offset still; -1 is the whole file.
type remark struct {
	at   int
	text string
}

// maxNotes bounds what is said of one file. To count the characters of a long
// line takes its time, so no more of them than these are counted.
const maxNotes = 100

// maxRemarks bounds what is collected before the first of it are chosen.
const maxRemarks = 100 * maxNotes

// notes are the first of the remarks, in the file's order, each once.
func (s *source) notes(remarks []remark) []Note {
	slices.SortStableFunc(remarks, func(a, b remark) int { return a.at - b.at })
	remarks = slices.Compact(remarks)
	if len(remarks) > maxNotes {
		remarks = remarks[:maxNotes]
	}
	var list []Note
	for _, r := range remarks {
		n := Note{File: s.name, Text: r.text}
		if r.at >= 0 {
			n.Line, n.Column = s.lines.place(r.at)
		}
		list = append(list, n)
	}
	return list
}

func (s *source) errors(remarks []remark) error { return Errors(s.notes(remarks)) }

// offsetOf finds a field, or the nearest around it; -1 when there is none.
func (s *source) offsetOf(field string) int {
	for {
		if at, ok := s.fields[field]; ok {
			return at
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return -1
		}
		field = field[:i]
	}
}

// remarkOf is an error of a command, where it stands.
func (s *source) remarkOf(field, text string) remark {
	if field == "" {
		field = "tenant"
	}
	return remark{s.offsetOf(field), text}
}

// refused is the error of a command, as the package's own.
func (s *source) refused(err error) error {
	var refused tenants.Errors
	if !errors.As(err, &refused) {
		return fmt.Errorf("policy file %s: %w", s.name, err)
	}
	var remarks []remark
	for _, e := range refused {
		remarks = append(remarks, s.remarkOf(e.Field, e.Text))
	}
	return s.errors(remarks)
}
