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

// newSource refuses a file that is too large, or not UTF-8 text.
func newSource(name string, data []byte) (*source, error) {
	if len(data) > MaxBytes {
		return nil, Errors{{File: name, Text: fmt.Sprintf("the file has more than %d bytes (%d MiB), the maximum", MaxBytes, MaxBytes>>20)}}
	}
	s := &source{name: name, lines: newLines(data), fields: map[string]int{}, places: map[string]int{}}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, s.errors([]remark{{0, "begins with a byte order mark: save the file without one"}})
	}
	if i := invalidUTF8(data); i >= 0 {
		return nil, s.errors([]remark{{i, fmt.Sprintf("byte %#02x is not UTF-8: save the file as UTF-8", data[i])}})
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

// source is a file, with the places in it that notes refer to.
type source struct {
	name  string
	lines lines
	// fields has the offsets of the command's arguments, by their paths as in
	// tenants.Error.Field.
	fields map[string]int
	places map[string]int // the offset of each domain and service
}

// A remark is a note before its offset has been converted into a line and a
// column. The offset -1 means the whole file.
type remark struct {
	at   int
	text string
}

// maxNotes bounds the notes on one file. It also bounds the time to compute
// columns: for each note, the characters of a long line may have to be counted.
const maxNotes = 100

// maxRemarks bounds the remarks that are collected. After sorting, only the
// first maxNotes of them are reported.
const maxRemarks = 100 * maxNotes

// notes returns the first remarks as notes, in the order of the file, without
// duplicates.
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

// offsetOf returns the offset of a field. If the file does not have the field,
// offsetOf returns the offset of the innermost enclosing field, or -1 if there is
// none.
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

// remarkOf returns the remark for an error of a command. An error about the
// whole command is shown at the tenant's id.
func (s *source) remarkOf(field, text string) remark {
	if field == "" {
		field = "tenant"
	}
	return remark{s.offsetOf(field), text}
}

// refused converts the error of a command into an Errors.
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
