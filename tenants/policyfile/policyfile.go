// Package policyfile reads and writes policy files: one tenant with its domains,
// services, roles and members, as TOML.
//
// It is strict: an unknown key is an error. It reports all errors of a file at
// once, each with its line and column. Package tenants has the rules for a valid
// tenant: a file becomes the command that creates its tenant, and the errors of
// that command are reported at their places in the file. The package is pure,
// and it handles any bytes without a panic.
package policyfile

import (
	"fmt"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// MaxBytes bounds a file. It allows some ten thousand members, which is more than
// one commit can hold.
const MaxBytes = 4 << 20

// A File is one tenant's policy, as written. It is valid by itself, that is, in
// an installation without other tenants.
type File struct {
	Tenant string
	// Create is the command that makes the tenant.
	Create tenants.CreateTenant
	// Warnings are about details that are allowed but probably mistakes.
	Warnings []Note

	source *source
}

// A Note is a message about one place of a file.
type Note struct {
	File         string
	Line, Column int // from 1, the column in characters; 0 if the note is about the whole file
	Text         string
}

// String returns "file:line:column: text".
func (n Note) String() string {
	if n.Line == 0 {
		return n.File + ": " + n.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", n.File, n.Line, n.Column, n.Text)
}

// Errors are the errors in a file, in the order of the file, at most maxNotes of
// them. There is at least one.
type Errors []Note

// Error joins the notes, one in each line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, n := range e {
		lines[i] = n.String()
	}
	return strings.Join(lines, "\n")
}

// Events returns the events that create the tenant as the file describes it, in
// one commit after v. If the tenant does not fit into v, for example because a
// domain belongs to another tenant, the error is an Errors.
func (f *File) Events(v *projections.View) ([]events.Event, error) {
	outcome, err := tenants.Check(v, f.Tenant, f.Create)
	if err != nil {
		return nil, f.source.refused(err)
	}
	return outcome.Events, nil
}

// A Refusal is an error that a policy node reports for a file's command: the
// path of the wrong argument as the API spells it, such as
// "domains[2].default_role", and the text.
type Refusal struct{ Field, Text string }

// Refused returns an Errors that shows the refusals at their places in the file.
func (f *File) Refused(refusals []Refusal) error {
	var remarks []remark
	for _, r := range refusals {
		remarks = append(remarks, f.source.remarkOf(r.Field, r.Text))
	}
	return f.source.errors(remarks)
}

// View returns the View of an installation that has only the tenants of the
// files, for judging stanzas offline.
func View(files ...*File) (*projections.View, error) {
	v := projections.New()
	for _, f := range files {
		evs, err := f.Events(v)
		if err != nil {
			return nil, err
		}
		next, err := v.Apply(&events.Commit{Position: v.Position() + 1, Tenant: f.Tenant, TenantVersion: 1, Events: evs})
		if err != nil {
			return nil, fmt.Errorf("policy file %s: %w", f.source.name, err)
		}
		v = next
	}
	return v, nil
}
