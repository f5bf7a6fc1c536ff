// Package prosody converts the roles of a Prosody server into policy files. It
// reads the server's configuration and the stored roles of its accounts.
//
// It promises that no account gets more than Prosody's own role code gives it.
// An account whose role is unknown, not registered or damaged gets a role
// without permissions. If the stored roles of a host cannot be read, all its
// accounts get that role, unless Options say otherwise. If a setting has no
// counterpart or another meaning in Postern, a Finding reports it; nothing is
// dropped silently.
//
// The configuration is a program. It is evaluated in a sandbox that bounds
// steps, memory and depth and has access only to the files, variables and
// credentials that were given. An input that was not given is replaced by a
// substitute. If the outcome depends on a substitute, Import returns an error
// that asks for the input. Stored files are read by a strict parser and never executed.
//
// The rules are those of Prosody 13 (core/configmanager, core/storagemanager,
// core/modulemanager, mod_authz_internal). The package is pure: files come
// through an fs.FS, and the context carries the time limit.
//
// The package is frozen, because each server that moves to Postern needs it
// only once: faults are corrected, but new settings of Postern are not added
// here.
package prosody

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/tenants/policyfile"
)

// A Source holds the files of a Prosody server.
type Source struct {
	// Config is the directory of the configuration, File is the main file
	// within it, and Root is the directory's absolute path. The configuration
	// may name files by absolute paths below Root.
	Config fs.FS
	File   string
	Root   string
	// Env are the environment variables that the configuration may read.
	Env map[string]string
	// Credentials is the directory named by Prosody's $CREDENTIALS_DIRECTORY,
	// or nil if it was not given.
	Credentials fs.FS
	// Data is Prosody's data directory, or nil if it was not given.
	Data fs.FS
}

// Options control the conversion. The zero value makes one tenant named
// "imported".
type Options struct {
	// Tenant is the id of the tenant. It must be empty if PerHost is set.
	Tenant string
	// PerHost makes one tenant for each virtual host.
	PerHost bool
	// DefaultForUnread gives accounts whose stored roles cannot be read the
	// default role of their host. Otherwise they get no permissions, since any
	// of them may have less than the default in Prosody. If the source has no
	// data, the default role is always given.
	DefaultForUnread bool
}

// The kinds of findings. An administrator should review all of them except
// Info.
type Kind string

const (
	Info    Kind = "info"    // for information
	Changed Kind = "changed" // a setting has another meaning in Postern
	Lost    Kind = "lost"    // a setting has no counterpart
	Damaged Kind = "damaged" // an account's data could not be read; the account gets no permissions
	Unread  Kind = "unread"  // a host's stored roles could not be read; its accounts get no permissions
)

// A Finding is one difference between the policy files and the Prosody server.
type Finding struct {
	Kind  Kind   `json:"kind"`
	Where string `json:"where,omitempty"` // file:line, a stored file, or a host
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`
}

// String returns "kind: where: text (fix)".
func (f Finding) String() string {
	s := string(f.Kind) + ": "
	if f.Where != "" {
		s += f.Where + ": "
	}
	s += f.Text
	if f.Fix != "" {
		s += " (" + f.Fix + ")"
	}
	return s
}

// A Result is the result of an import.
type Result struct {
	Files    []File
	Findings []Finding
	// Refused is empty, or the reason why there are no files although
	// everything could be read.
	Refused string
}

// A File is the policy of one tenant.
type File struct {
	Tenant                          string
	Domains, Services, Roles, Named int // numbers of each; Named is the number of members
	Text                            []byte
}

// Clean reports whether there is nothing to review.
func (r *Result) Clean() bool {
	for _, f := range r.Findings {
		if f.Kind != Info {
			return false
		}
	}
	return true
}

// ErrUnreadable means that a source could not be read or evaluated.
var ErrUnreadable = errors.New("prosody's files cannot be read")

// A DifferError reports that the hosts of a configuration define different
// roles, so that one tenant cannot hold them.
type DifferError struct{ Host, Other, Text string }

func (e *DifferError) Error() string {
	return fmt.Sprintf("the roles of %s and %s differ: %s. One tenant has one set of roles; use --per-host to create one tenant per host", e.Host, e.Other, e.Text)
}

// Import converts a source. The error is an ErrUnreadable, a DifferError, an
// ApartError, or the reason why Postern refuses the result. If there is an
// error, there are no files.
func Import(ctx context.Context, source Source, o Options) (*Result, error) {
	c, err := settle(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return c.tenants(source, o)
}

// tenants converts a configuration and a store into tenants.
func (c *config) tenants(source Source, o Options) (*Result, error) {
	hosts := c.virtualHosts()
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, withRemedies(fmt.Errorf("%s: no enabled VirtualHost", source.File), c.decides))
	}
	m := &mapping{config: c, data: source.Data, options: o}
	m.findings = append(m.findings, c.notes...)
	m.general()
	if !m.locate(hosts) {
		for _, h := range hosts {
			if !m.folder[h] && m.driver(h, "account_roles") == internal && !m.anonymous(h) {
				m.find(Unread, h, m.missing(h), "give Prosody's data directory with --data; --no-data if it stores nothing yet")
			}
		}
		return &Result{Findings: m.findings, Refused: "the data directory contains nothing of any host"}, nil
	}
	groups := [][]string{hosts}
	ids := []string{o.Tenant}
	switch {
	case o.PerHost && o.Tenant != "":
		return nil, errors.New("with one tenant per host, the ids are derived from the hosts' names: do not name a tenant")
	case o.PerHost:
		groups, ids = nil, idsOf(hosts)
		for _, h := range hosts {
			groups = append(groups, []string{h})
		}
	case o.Tenant == "":
		ids[0] = "imported"
	}
	r := &Result{}
	for i, group := range groups {
		if err := tenants.CheckID(ids[i]); err != nil {
			return nil, err
		}
		t, err := m.tenant(group)
		if err != nil {
			return nil, err
		}
		text, err := write(ids[i], t)
		if err != nil {
			return nil, fmt.Errorf("postern refuses the result: %w", err)
		}
		r.Files = append(r.Files, File{ids[i], len(t.Domains), len(t.Services), len(t.Roles), len(t.Members), text})
	}
	r.Findings = m.findings
	return r, nil
}

// write returns the policy file of a new tenant. After the file is applied, an
// export of the tenant gives the same bytes, except for comments on who
// suspended an account.
func write(id string, t *tenants.CreateTenant) ([]byte, error) {
	parsed, err := policyfile.Parse(id+".toml", policyfile.Write(id, tenants.ApplyTenant(*t)))
	if err != nil {
		return nil, err
	}
	v, err := policyfile.View(parsed)
	if err != nil {
		return nil, err
	}
	return policyfile.Write(id, tenants.Desired(v.Tenant([]byte(id)))), nil
}

// idsOf derives a unique tenant id from each host's name.
func idsOf(hosts []string) (ids []string) {
	seen := map[string]bool{}
	for _, h := range hosts {
		base := strings.Trim(strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return '-'
		}, h), "-")
		base = strings.TrimRight(base[:min(len(base), tenants.MaxTenantID-6)], "-")
		if base == "" {
			base = "host"
		}
		id := base
		for n := 2; seen[id]; n++ {
			id = fmt.Sprintf("%s-%d", base, n)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	return ids
}
