// Package prosody reads what a Prosody server knows of roles, its
// configuration and its stored account roles, and says it as policy files.
//
// It promises that no account gets more than Prosody's own role code gives it.
// An account whose role is unknown, not registered or damaged gets a role that
// gives nothing, and so do all accounts of a host whose stored roles are not
// read, unless Options say otherwise. Whatever has no counterpart or changes its
// meaning is a Finding that is to be looked at, never silent.
//
// The configuration is a program: it is evaluated in a sandbox that bounds
// steps, memory and depth and reaches nothing but the files, variables and
// credentials that were given. An input that was not given has a stand-in, and
// is asked for if the outcome depends on it. Stored files are read by a strict
// reader and never run.
//
// The rules are those of Prosody 13 (core/configmanager, core/storagemanager,
// core/modulemanager, mod_authz_internal).
// It is pure: files come through an fs.FS, the time limit with the context.
//
// The package is frozen. It is used once for each server that moves to Postern:
// faults are corrected, but a setting that Postern gets later needs no place
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

// A Source is a Prosody server's files.
type Source struct {
	// Config is the directory the configuration stands in, File the
	// configuration within it, Root the directory's absolute path, by which
	// the configuration may name files.
	Config fs.FS
	File   string
	Root   string
	// Env are the environment variables the configuration may read.
	Env map[string]string
	// Credentials is the directory that Prosody's $CREDENTIALS_DIRECTORY names;
	// nil when its files are not to be read.
	Credentials fs.FS
	// Data is Prosody's data directory; nil when there is none to read.
	Data fs.FS
}

// Options say what to make of a source. The zero value is one tenant named
// "imported".
type Options struct {
	// Tenant is the tenant's id; with PerHost it must be empty.
	Tenant string
	// PerHost makes a tenant of each virtual host.
	PerHost bool
	// DefaultForUnread gives accounts whose stored roles cannot be read the
	// default role of their host. They get nothing otherwise, as any may have
	// less in Prosody. Where a source has no data, the default role is given.
	DefaultForUnread bool
}

// The kinds of findings. All but Info are to be looked at.
type Kind string

const (
	Info    Kind = "info"    // good to know
	Changed Kind = "changed" // means something else in Postern
	Lost    Kind = "lost"    // has no counterpart
	Damaged Kind = "damaged" // could not be read; the account gets nothing
	Unread  Kind = "unread"  // a host's stored roles could not be read; its accounts get nothing
)

// A Finding is one thing the policy files do not say as Prosody did.
type Finding struct {
	Kind  Kind   `json:"kind"`
	Where string `json:"where,omitempty"` // file:line, a stored file, or a host
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`
}

// String is "kind: where: text (fix)".
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

// A Result is what came of a source.
type Result struct {
	Files    []File
	Findings []Finding
	// Refused says why there are no files, although all could be read.
	Refused string
}

// A File is one tenant's policy.
type File struct {
	Tenant                          string
	Domains, Services, Roles, Named int // counts; Named are the members
	Text                            []byte
}

// Clean reports whether there is nothing to look at.
func (r *Result) Clean() bool {
	for _, f := range r.Findings {
		if f.Kind != Info {
			return false
		}
	}
	return true
}

// ErrUnreadable is of a source that could not be read or evaluated.
var ErrUnreadable = errors.New("prosody's files cannot be read")

// A DifferError says that the hosts of a configuration define roles
// differently, so that one tenant cannot hold them.
type DifferError struct{ Host, Other, Text string }

func (e *DifferError) Error() string {
	return fmt.Sprintf("the roles of %s and %s differ: %s. One tenant has one set of roles; use --per-host for a tenant of each host", e.Host, e.Other, e.Text)
}

// Import reads a source. The error is an ErrUnreadable, a DifferError, or says
// what Postern refuses of the outcome; nothing is made then.
func Import(ctx context.Context, source Source, o Options) (*Result, error) {
	c, err := settle(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return c.tenants(source, o)
}

// tenants makes tenants of a configuration and a store.
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
		return &Result{Findings: m.findings, Refused: "the data directory holds nothing of any host"}, nil
	}
	groups := [][]string{hosts}
	ids := []string{o.Tenant}
	switch {
	case o.PerHost && o.Tenant != "":
		return nil, errors.New("with one tenant per host the ids are made of the hosts' names: name no tenant")
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
			return nil, fmt.Errorf("postern refuses what came of it: %w", err)
		}
		r.Files = append(r.Files, File{ids[i], len(t.Domains), len(t.Services), len(t.Roles), len(t.Members), text})
	}
	r.Findings = m.findings
	return r, nil
}

// write is the policy file of a new tenant. Its bytes are those that an export
// of the tenant gives once the file is applied, but for its comments on whose a
// suspension is.
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

// idsOf makes tenant ids of hosts' names, each once.
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
