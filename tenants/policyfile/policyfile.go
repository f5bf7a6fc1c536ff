// Package policyfile reads policy files: one tenant with its domains,
// services, roles and members, as TOML.
//
// It is strict: what it does not know is an error, and every error names the
// line and the column it stands at. What Parse accepts is complete in itself;
// Events then checks it against the rest of the installation and says what
// must have happened for the tenant to be as the file has it.
package policyfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// MaxBytes bounds a file.
const MaxBytes = 64 << 20

// A File is one tenant's policy, as written and found consistent. Addresses
// and domains are prepared.
type File struct {
	Tenant   string
	Name     string
	Ceiling  []string
	Presence events.PresenceMode
	Domains  []Domain
	Roles    []Role
	Members  []Member
	// Warnings are what is allowed and probably not meant.
	Warnings []Note

	source string
	at     positions
}

// A Domain is one [[domain]].
type Domain struct {
	Name        string
	DefaultRole string // never empty
	Services    []string
	Backends    []events.Backend
}

// A Role is one [[role]]. A built-in one has Add and Remove only, a custom one
// has neither.
type Role struct {
	Name                  string
	Inherits, Allow, Deny []string
	Add, Remove           []string
}

// A Member is one [[member]].
type Member struct {
	JID       string
	Role      string // empty: the domain's default role
	Secondary []string
}

// A Note is something said about one place of a file.
type Note struct {
	File         string
	Line, Column int // from 1; 0 where the note is about the whole file
	Text         string
}

// String is "file:line:column: text".
func (n Note) String() string {
	if n.Line == 0 {
		return n.File + ": " + n.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", n.File, n.Line, n.Column, n.Text)
}

// Errors are what is wrong with a file, in the order of the file.
type Errors []Note

// Error joins the notes, a line each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, n := range e {
		lines[i] = n.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the notes in the file's order, or nil.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Note) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return e
}
