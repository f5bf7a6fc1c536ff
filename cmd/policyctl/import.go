package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/import/prosody"
)

type importCmd struct {
	Prosody importProsody `cmd:"" help:"Convert a Prosody server's configuration and stored roles to policy files."`
}

type importProsody struct {
	Config      string   `required:"" help:"Prosody's configuration file." placeholder:"FILE"`
	Data        string   `help:"Prosody's data directory. Only storage in files is read." placeholder:"DIR"`
	Unread      bool     `name:"default-for-unread" help:"Give accounts whose stored roles cannot be read the default role of their host. Otherwise they get a role without permissions."`
	NoData      bool     `help:"Import without stored roles and disabled accounts."`
	Root        string   `help:"The directory from which the configuration may read files; the configuration's own if omitted." placeholder:"DIR"`
	RootAs      string   `help:"If that directory is a copy: its path on Prosody's machine." placeholder:"DIR"`
	Credentials string   `help:"The directory that Prosody's $CREDENTIALS_DIRECTORY names, or a copy." placeholder:"DIR"`
	Env         []string `help:"An environment variable that the configuration reads. NAME alone takes the value from policyctl's environment." placeholder:"NAME[=VALUE]" sep:"none"`
	Tenant      string   `help:"The tenant's id." placeholder:"ID"`
	PerHost     bool     `help:"Make each VirtualHost a tenant of its own."`
	Output      string   `short:"o" required:"" help:"The directory to write the policy files into." placeholder:"DIR"`
	Force       bool     `help:"Overwrite existing files."`
}

// importTime bounds the evaluation of a configuration. A configuration is a Lua
// program and may run for ever.
const importTime = 10 * time.Second

// codeLookAt is the error code in JSON if the files were written, but the report
// has findings to review.
const codeLookAt api.Code = "look_at"

// Help is the command's help.
func (*importProsody) Help() string {
	return `The configuration is evaluated in a sandbox with limits; nothing is changed on
the Prosody server. The command writes one policy file for the tenant (with
--per-host, one for each VirtualHost). On standard output it reports the settings
that have no counterpart in Postern or change their meaning.

No account gets more than it has in Prosody. An account gets a role without
permissions if it has no role in Prosody or if its stored role cannot be read. So
do all accounts of a host whose roles are not stored in files, or whose folder is
not in the data directory. With --default-for-unread, accounts whose roles cannot
be read get the default role of the host instead: use it only if no account has
less than that. With --no-data no stored roles are read, and all accounts get the
default role.

If hosts or roles depend on an environment variable, a file or a credential that
is missing, nothing is written, and the error names the option that supplies it.
Other missing values are named in the report but are not needed.

Exit codes: 0 written, nothing to review; 1 written, but the report has findings
to review (lost, changed, damaged or unread), or the import was refused and
nothing was written; 2 the configuration or the data cannot be read, and nothing
was written.

Examples:

    policyctl import prosody --config /etc/prosody/prosody.cfg.lua \
        --data /var/lib/prosody --tenant acme -o policies
    policyctl import prosody --config prosody.cfg.lua --no-data --per-host \
        --env DOMAIN=example.org -o policies
    policyctl import prosody --config copy/etc/prosody/prosody.cfg.lua \
        --root copy --root-as / --data copy/var/lib/prosody -o policies
    policyctl check -f policies/acme.toml --jsonl questions.jsonl`
}

// importReport is the output of the command.
type importReport struct {
	Files    []importedFile    `json:"files"`
	Findings []prosody.Finding `json:"findings"`
	Clean    bool              `json:"clean"`
}

type importedFile struct {
	File     string `json:"file"`
	Tenant   string `json:"tenant"`
	Domains  int    `json:"domains"`
	Services int    `json:"services"`
	Roles    int    `json:"roles"`
	Members  int    `json:"members"`
}

// Run imports.
func (c *importProsody) Run(ctx context.Context, a *app) error {
	if (c.Data == "") == !c.NoData {
		return usagef("name Prosody's data directory with --data, or give --no-data to import without stored roles and disabled accounts")
	}
	source, closeAll, err := c.source()
	if err != nil {
		return &usageError{err}
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(ctx, importTime)
	defer cancel()
	result, err := prosody.Import(ctx, source, prosody.Options{Tenant: c.Tenant, PerHost: c.PerHost, DefaultForUnread: c.Unread})
	if errors.Is(err, prosody.ErrUnreadable) {
		return &usageError{err}
	}
	if err != nil {
		return &api.Error{Code: api.CodeInvalid, Text: err.Error()}
	}
	report := importReport{Files: []importedFile{}, Findings: result.Findings, Clean: result.Clean()}
	if result.Refused != "" {
		if err := a.importReport(&report); err != nil {
			return err
		}
		return &api.Error{Code: api.CodeInvalid, Text: "nothing was written: " + result.Refused}
	}
	if err := c.write(result, &report); err != nil {
		return err
	}
	if err := a.importReport(&report); err != nil {
		return err
	}
	if n := toLookAt(result.Findings); n > 0 {
		return &api.Error{Code: codeLookAt, Text: fmt.Sprintf("written; review %d findings of the report before you use the files", n)}
	}
	return nil
}

func toLookAt(all []prosody.Finding) (n int) {
	for _, f := range all {
		if f.Kind != prosody.Info {
			n++
		}
	}
	return n
}

// source opens Prosody's directories. A symbolic link cannot lead out of them.
func (c *importProsody) source() (s prosody.Source, closeAll func(), err error) {
	var open []*os.Root
	closeAll = func() {
		for _, r := range open {
			r.Close()
		}
	}
	dir := func(name string) (fs.FS, error) {
		r, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		open = append(open, r)
		return onlyRegular{r.FS()}, nil
	}
	file, err := filepath.Abs(c.Config)
	root := filepath.Dir(file)
	if err == nil && c.Root != "" {
		root, err = filepath.Abs(c.Root)
	}
	if err != nil {
		return s, closeAll, err
	}
	inside, err := filepath.Rel(root, file)
	if err != nil || strings.HasPrefix(inside, "..") {
		return s, closeAll, fmt.Errorf("%s is not in %s", c.Config, root)
	}
	s = prosody.Source{File: filepath.ToSlash(inside), Root: filepath.ToSlash(root), Env: map[string]string{}}
	if c.RootAs != "" {
		s.Root = c.RootAs
	}
	if s.Config, err = dir(root); err != nil {
		return s, closeAll, err
	}
	if c.Data != "" {
		if s.Data, err = dir(c.Data); err != nil {
			return s, closeAll, err
		}
	}
	if c.Credentials != "" {
		if s.Credentials, err = dir(c.Credentials); err != nil {
			return s, closeAll, err
		}
	}
	for _, e := range c.Env {
		name, value, given := strings.Cut(e, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return s, closeAll, fmt.Errorf("--env %s: policyctl's environment has no such variable", name)
			}
		}
		s.Env[name] = value
	}
	return s, closeAll, nil
}

// write writes the files. If one exists already, it writes none.
func (c *importProsody) write(result *prosody.Result, report *importReport) error {
	if err := os.MkdirAll(c.Output, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", c.Output, err)
	}
	for _, f := range result.Files {
		name := filepath.Join(c.Output, f.Tenant+".toml")
		if _, err := os.Lstat(name); !c.Force && !errors.Is(err, fs.ErrNotExist) {
			return &api.Error{Code: api.CodeExists, Text: name + " exists already: nothing was written; give --force to overwrite it"}
		}
		report.Files = append(report.Files, importedFile{name, f.Tenant, f.Domains, f.Services, f.Roles, f.Named})
	}
	for i, f := range result.Files {
		if err := writeWhole(report.Files[i].File, f.Text, c.Force); err != nil {
			return fmt.Errorf("write %s (%d files were written before it): %w", report.Files[i].File, i, err)
		}
	}
	return nil
}

func (a *app) importReport(r *importReport) error {
	return a.print(r, func(w io.Writer) {
		for _, f := range r.Files {
			fmt.Fprintf(w, "%s: tenant %s: %d domains, %d services, %d roles, %d members\n", clean(f.File), f.Tenant, f.Domains, f.Services, f.Roles, f.Members)
		}
		for _, f := range r.Findings {
			fmt.Fprintln(w, clean(f.String()))
		}
	})
}
