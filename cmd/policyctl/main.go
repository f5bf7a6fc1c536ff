// Command policyctl is the operator's hand on a policy node: it makes tenants,
// domains, roles and members, and says why a stanza passes or not.
//
// It speaks to policyd over its local socket; `check` and `permissions` need
// no node. It promises that standard output holds the answer and nothing else,
// and that the exit code tells what happened: 0 done, 1 not done, 2 the
// command line or an input file could not be read. It keeps no state.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/api"
)

// The exit codes.
const (
	exitDone  = 0
	exitError = 1 // the node refused, failed or could not be reached
	exitUsage = 2 // the command line or an input could not be read; nothing was done
)

// The codes of errors that are not the node's, in JSON.
const (
	codeUsage       api.Code = "usage"       // see exitUsage
	codeUnreachable api.Code = "unreachable" // the node was not reached, or did not answer
)

// helpWidth keeps help the same on every terminal.
const helpWidth = 80

// A cli is the command line.
type cli struct {
	Socket  string        `help:"Admin socket of the policy node." env:"POSTERN_SOCKET" default:"${socket}" placeholder:"PATH"`
	JSON    bool          `name:"json" help:"Write JSON, for programs."`
	Timeout time.Duration `help:"How long to wait for the node." default:"30s"`

	Tenant      tenantCmd      `cmd:"" help:"Tenants: who owns domains."`
	Domain      domainCmd      `cmd:"" help:"Domains: a tenant's XMPP hosts and their servers."`
	Service     serviceCmd     `cmd:"" help:"Services: a tenant's component domains, such as rooms."`
	Role        roleCmd        `cmd:"" help:"Roles: what may be done."`
	Member      memberCmd      `cmd:"" help:"Members: accounts and their roles."`
	Explain     explainCmd     `cmd:"" help:"Say what becomes of a stanza, or whether a permission is held, and why."`
	Log         logCmd         `cmd:"" help:"Show who changed what, when and why."`
	Status      statusCmd      `cmd:"" help:"Show how the policy node is."`
	Permissions permissionsCmd `cmd:"" help:"Print all permissions, and which stanza asks for which."`
	Check       checkCmd       `cmd:"" help:"Decide about stanzas by a policy file, without a node."`
	Import      importCmd      `cmd:"" help:"Come from another server: make policy files of what it has."`
}

const description = `policyctl changes and explains who may do what on the XMPP domains behind Postern.

It speaks to policyd on this machine, over a socket that root and policyd's own user may open.

Exit codes: 0 done; 1 refused, failed or not reachable; 2 the command line or an input file could not be read.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// An app is what a command runs with.
type app struct {
	ctx    context.Context
	client *api.Client
	in     io.Reader
	out    io.Writer
	err    io.Writer
	json   bool
}

// A usageError is a mistake on the command line or in an input file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exited carries kong's wish to exit out of its parser.
type exited int

// run does one command line and gives the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exited:
			code = int(e)
		default:
			panic(e)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("policyctl"),
		kong.Description(description),
		kong.Vars{"socket": api.DefaultSocket},
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: helpWidth}),
	)
	if err != nil {
		panic("policyctl: command line: " + err.Error())
	}
	selected, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "policyctl: %v\n", err)
		hintHelp(errOut, err)
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	a := &app{ctx: ctx, client: api.NewClient(c.Socket), in: in, out: out, err: errOut, json: c.JSON}
	defer a.client.Close()
	return a.report(selected.Run(a), c.Socket)
}

// hintHelp says where help is for the command that was meant.
func hintHelp(w io.Writer, err error) {
	path := "policyctl"
	if at, ok := errors.AsType[*kong.ParseError](err); ok && at.Context != nil {
		for _, p := range at.Context.Path {
			if p.Command != nil {
				path = p.Command.FullPath()
			}
		}
	}
	fmt.Fprintf(w, "Run \"%s --help\" to see how it is used.\n", path)
}

// report writes an error and gives the exit code.
func (a *app) report(err error, socket string) int {
	if err == nil {
		return exitDone
	}
	code := exitError
	var usage *usageError
	if errors.As(err, &usage) {
		code = exitUsage
	}
	if a.json {
		var e *api.Error
		if !errors.As(err, &e) {
			e = &api.Error{Code: codeUnreachable, Text: err.Error()}
		}
		if code == exitUsage {
			e = &api.Error{Code: codeUsage, Text: err.Error()}
		}
		_ = json.NewEncoder(a.err).Encode(map[string]*api.Error{"error": e})
		return code
	}
	fmt.Fprintf(a.err, "policyctl: %s\n", clean(err.Error()))
	if hint := hintFor(err, socket); hint != "" {
		fmt.Fprintln(a.err, hint)
	}
	return code
}

// hintFor says what to do about an error, where its text does not.
func hintFor(err error, socket string) string {
	var e *api.Error
	var usage *usageError
	switch {
	case errors.As(err, &usage): // about a file, if any
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("No policyd listens on %s. Start it, or name its socket with --socket or POSTERN_SOCKET.", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("You may not open %s: only root and the user policyd runs as may.", socket)
	case errors.Is(err, context.DeadlineExceeded):
		return "The node did not answer in time. If this was a change, it may have been made: look, or repeat it with the same --command-id."
	case errors.As(err, &e) && e.Code == api.CodeUnknown:
		return "It is not known whether the change was made. Repeat it with the same --command-id: it will be made once."
	}
	return ""
}
