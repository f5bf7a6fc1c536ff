// Package policyfile reads and writes policy files: one tenant with its domains,
// services, roles and members, as TOML.
//
// It is strict. What it does not know is an error, and every error names the
// line and the column it stands at; all of them are reported at once. What
// makes a tenant valid is for package tenants to say: a file becomes the
// command that creates its tenant, and what that command finds wrong is shown
// where it stands in the file. It is pure, and takes any bytes.
package policyfile

import (
	"fmt"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
)

// MaxBytes bounds a file: some ten thousand members, more than one commit can
// hold.
const MaxBytes = 4 << 20

// A File is one tenant's policy, as written and by itself consistent.
type File struct {
	Tenant string
	// Create is the command that makes the tenant.
	Create tenants.CreateTenant
	// Warnings are what is allowed and probably not meant.
	Warnings []Note

	source *source
}

// A Note is something said about one place of a file.
type Note struct {
	File         string
	Line, Column int // from 1, the column in characters; 0 where the note is about the whole file
	Text         string
}

// String is "file:line:column: text".
func (n Note) String() string {
	if n.Line == 0 {
		return n.File + ": " + n.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", n.File, n.Line, n.Column, n.Text)
}

// Errors are what is wrong with a file, in the order of the file, at most a
// hundred; never empty.
type Errors []Note

// Error joins the notes, a line each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, n := range e {
		lines[i] = n.String()
	}
	return strings.Join(lines, "\n")
}

// Events is what must happen for the tenant to come to be as the file has it,
// in one commit after v. The error of a tenant that does not fit into v, such
// as one with a domain of another tenant, is an Errors.
func (f *File) Events(v *projections.View) ([]events.Event, error) {
	outcome, err := tenants.Check(v, f.Tenant, f.Create)
	if err != nil {
		return nil, f.source.refused(err)
	}
	return outcome.Events, nil
}

// A Refusal is what a policy node finds wrong with a file's command: the
// argument at fault, in the API's words, such as "domains[2].default_role", and
// why.
type Refusal struct{ Field, Text string }

// Refused says where in the file the refusals stand. The error is an Errors.
func (f *File) Refused(refusals []Refusal) error {
	var remarks []remark
	for _, r := range refusals {
		remarks = append(remarks, f.source.remarkOf(r.Field, r.Text))
	}
	return f.source.errors(remarks)
}

// View is the state of an installation that has the tenants of the files and
// nothing else, for judging offline.
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
