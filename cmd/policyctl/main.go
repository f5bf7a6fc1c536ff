// Command policyctl administers a policy node: it changes tenants, domains,
// roles, members and more, and explains why a stanza passes or not.
//
// It connects to policyd over its local socket, or over the network with a
// token. Some commands, such as `check` and `permissions`, need no node. It
// promises that standard output holds the answer and nothing else, and that the
// exit code reports the outcome: 0 done, 1 not done, 2 the command line or an
// input file could not be read, 3 a plan has changes, 4 done, but not known to be
// enforced on all nodes. It keeps no state.
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
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"github.com/postern-im/postern/api"
)

// The exit codes.
const (
	exitDone  = 0
	exitError = 1 // the node refused, failed or could not be reached
	exitUsage = 2 // the command line or an input could not be read, or --yes was missing; nothing was done
	// exitChanges is used by plan only: there is something to apply.
	exitChanges = 3
	// exitWait: the change was made, but it is not known to be enforced on all nodes.
	exitWait = 4
)

// An exitCode ends a command with this exit code, without an error message. The
// command has printed everything already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// These error codes in JSON come from policyctl itself, not from the node.
const (
	codeUsage       api.Code = "usage"       // see exitUsage
	codeFailed      api.Code = "failed"      // cases of a policy test failed
	codeLog         api.Code = "log"         // a log or a backup on this machine is damaged or cannot be used
	codeUnreachable api.Code = "unreachable" // the node was not reached, or did not answer
	codeWait        api.Code = "wait"        // see exitWait
)

// helpWidth is the fixed width of help texts, so that they are the same on every
// terminal.
const helpWidth = 80

// A cli is the command line.
type cli struct {
	Socket    string        `help:"The policy node's admin socket." env:"POSTERN_SOCKET" default:"${socket}" placeholder:"PATH"`
	Server    string        `help:"Administer a node over the network, with a token: https://host:port. Of several nodes, separated by commas, the next one is asked if one cannot answer." env:"POSTERN_SERVER" placeholder:"URL,..."`
	AtLeast   uint64        `help:"Read from a state that includes this position, such as the position of a change that was made at another node." placeholder:"POSITION"`
	TokenFile string        `help:"File with the token for --server. POSTERN_TOKEN can hold the token itself." env:"POSTERN_TOKEN_FILE" placeholder:"FILE"`
	CA        string        `name:"ca" help:"Certificates (PEM) to trust for --server, instead of the system's." env:"POSTERN_CA" placeholder:"FILE"`
	JSON      bool          `name:"json" help:"Write JSON, for programs."`
	Timeout   time.Duration `help:"How long to wait for the node, such as 500ms, 30s or 2m." default:"60s"`
	Color     string        `help:"Colours: auto (on a terminal, unless NO_COLOR is set), always or never." enum:"auto,always,never" default:"auto"`
	Quiet     bool          `short:"q" help:"Show no progress of long operations."`

	Tenant      tenantCmd      `cmd:"" help:"Tenants: the owners of domains."`
	Domain      domainCmd      `cmd:"" help:"Domains: a tenant's XMPP hosts and their servers."`
	Service     serviceCmd     `cmd:"" help:"Services: a tenant's component domains, such as rooms."`
	Role        roleCmd        `cmd:"" help:"Roles: sets of permissions."`
	Member      memberCmd      `cmd:"" help:"Members: accounts and their roles."`
	Session     sessionCmd     `cmd:"" help:"Sessions: the connected clients, and their gateways."`
	Explain     explainCmd     `cmd:"" help:"Explain what happens to a stanza, or whether an account has a permission, and why."`
	Log         logCmd         `cmd:"" help:"Show who changed what, when and why."`
	Diff        diffCmd        `cmd:"" help:"Show what changed in a tenant between two moments."`
	Blame       blameCmd       `cmd:"" help:"Find the command that gave a permission to an account or role, or took it away."`
	Gateway     gatewayCmd     `cmd:"" help:"Gateways: the programs that may connect to the policy nodes."`
	Token       tokenCmd       `cmd:"" help:"Tokens: access to administration over the network."`
	Status      statusCmd      `cmd:"" help:"Show the state of the policy node."`
	Permissions permissionsCmd `cmd:"" help:"Print all permissions, and which stanzas ask for them."`
	Test        testCmd        `cmd:"" help:"Test policy files with cases: account, stanza and expected effect. Needs no node."`
	Completion  completionCmd  `cmd:"" help:"Print the completion script for a shell."`
	Man         manCmd         `cmd:"" help:"Print the manual page."`
	HelpOf      helpCmd        `cmd:"" name:"help" help:"Show a command's help."`
	Plan        planCmd        `cmd:"" help:"Show what policy files would change."`
	Apply       applyCmd       `cmd:"" help:"Change tenants to match their policy files."`
	Export      exportCmd      `cmd:"" help:"Write tenants as policy files."`
	Check       checkCmd       `cmd:"" help:"Decide many stanzas by policy files. Needs no node."`
	Verify      verifyCmd      `cmd:"" help:"Check a whole log or backup for damage."`
	Backup      backupCmd      `cmd:"" help:"Back up the log of the running node."`
	Restore     restoreCmd     `cmd:"" help:"Restore a policy node's log from a backup."`
	Import      importCmd      `cmd:"" help:"Convert another server's configuration to policy files."`
	Cluster     clusterCmd     `cmd:"" help:"Clusters: several policy nodes that keep one log."`
}

const description = `policyctl changes and explains who may do what on the XMPP domains behind Postern.

It connects to policyd on this machine, over a socket that only root and policyd's own user can open; with --server, over the network.

Exit codes: 0 done; 1 refused, failed or not reachable; 2 the command line or an input file could not be read, or --yes was missing and there was no terminal to ask on: nothing was done; 3 plan found something to change; 4 the change was made, but it is not known to be enforced on all nodes.

With --json the answer is JSON on standard output. An error is one line on standard error, {"error": {"code": …, "text": …}}, and each warning is a line {"warning": …}. Programs may rely on the keys and codes: new ones are added, but none is renamed, removed or given another meaning. The texts are for people and may change.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// An app is the environment in which a command runs.
type app struct {
	client  *api.Client // waits at most --timeout for each answer
	timeout time.Duration
	in      io.Reader
	out     io.Writer
	err     io.Writer
	look    look // of out
	errLook look // of err
	ask     bool // the user can be asked: in and err are terminals
	json    bool
	quiet   bool
	model   *kong.Application // all commands and flags
	parse   func(args []string) error
}

// warn writes a warning.
func (a *app) warn(text string) {
	if a.json {
		_ = jsonTo(a.err).Encode(map[string]string{"warning": text})
		return
	}
	fmt.Fprintf(a.err, "%s %s\n", a.errLook.ink(inkWarning, "warning:"), clean(text))
}

// A usageError is a mistake on the command line or in an input file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exited is the panic value that unwinds kong's parser when kong wants to exit,
// as after --help. It is the exit code.
type exited int

// run runs one command line and returns the exit code.
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
		kong.Vars{"socket": api.DefaultSocket, "backend": backendForms()},
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: helpWidth}),
	)
	if err != nil {
		panic("policyctl: command line: " + err.Error())
	}
	if err := notUTF8(args); err != nil {
		return (&app{err: errOut, errLook: lookAt(errOut, colourAuto, os.Getenv), json: wantsJSON(args)}).report(&usageError{err}, "")
	}
	if len(args) > 1 && args[0] == completeWord {
		complete(ctx, parser.Model, args[2:], out)
		return exitDone
	}
	selected, err := parser.Parse(args)
	if err != nil {
		a := &app{out: out, err: errOut, errLook: lookAt(errOut, colourAuto, os.Getenv), json: wantsJSON(args)}
		code := a.report(&usageError{err}, "")
		if !a.json {
			hintHelp(errOut, err)
		}
		return code
	}
	client, where, err := c.connect()
	a := &app{
		in: in, out: out, err: errOut,
		look: lookAt(out, c.Color, os.Getenv), errLook: lookAt(errOut, c.Color, os.Getenv),
		ask: isTerminal(in) && isTerminal(errOut), json: c.JSON, quiet: c.Quiet, model: parser.Model,
		parse: func(args []string) error {
			if _, err := parser.Parse(args); err != nil {
				return &usageError{err}
			}
			return nil
		},
	}
	if err != nil {
		return a.report(&usageError{err}, "")
	}
	a.client, a.timeout = client.Within(c.Timeout), c.Timeout
	defer a.client.Close()
	// Each command gets ctx, which ends when the user interrupts it.
	selected.BindTo(ctx, (*context.Context)(nil))
	return a.report(selected.Run(a), where)
}

// notUTF8 refuses an argument that is not UTF-8, because JSON cannot carry it to
// the node unchanged.
func notUTF8(args []string) error {
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			return fmt.Errorf("argument %d is not UTF-8: %q", i+1, arg)
		}
	}
	return nil
}

// wantsJSON looks for --json in a command line that could not be parsed.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--" {
			return false
		}
		if arg == "--json" || arg == "--json=true" {
			return true
		}
	}
	return false
}

// hintHelp points to the help of the command on a wrong command line.
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

// report writes an error and returns the exit code.
func (a *app) report(err error, socket string) int {
	if err == nil {
		return exitDone
	}
	if only, ok := errors.AsType[exitCode](err); ok {
		return int(only)
	}
	code := exitError
	var usage *usageError
	if errors.As(err, &usage) {
		code = exitUsage
	}
	if onlyWait(err) {
		code = exitWait
	}
	if a.json {
		var e *api.Error
		if !errors.As(err, &e) {
			e = &api.Error{Code: codeUnreachable, Text: err.Error()}
		}
		if of := (*logError)(nil); errors.As(err, &of) {
			e.Code = codeLog
		}
		if errors.Is(err, errCasesFailed) {
			e.Code = codeFailed
		}
		if code == exitUsage {
			e = &api.Error{Code: codeUsage, Text: err.Error()}
		}
		if code == exitWait {
			e = &api.Error{Code: codeWait, Text: err.Error()}
		}
		_ = json.NewEncoder(a.err).Encode(map[string]*api.Error{"error": e})
		return code
	}
	fmt.Fprintf(a.err, "%s %s\n", a.errLook.ink(inkRefuse, "policyctl:"), clean(err.Error()))
	if hint := hintFor(err, socket); hint != "" {
		fmt.Fprintln(a.err, hint)
	}
	return code
}

// hintFor returns advice about an error whose own text gives none, or "".
func hintFor(err error, socket string) string {
	var e *api.Error
	var usage *usageError
	var of *logError
	var added unclearChange
	switch {
	case errors.As(err, &usage), errors.As(err, &of), errors.As(err, new(*fs.PathError)): // not about the connection
	case errors.As(err, new(*waitError)):
		return "Repeat the command with --wait: it changes nothing more, and waits again. policyctl cluster status shows the nodes."
	case errors.As(err, new(unseen)):
		return "The session may be at a gateway that does not answer: policyctl session list names those gateways, policyctl status shows the state of the node."
	case errors.As(err, &added):
		return added.hint
	case errors.As(err, new(unclearEnd)):
		return "Repeat the command when all gateways answer; policyctl session list names those that do not."
	case errors.As(err, &e) && e.Code == api.CodeUnauthorized:
		return "The node does not know the token, or the token has expired or was revoked. An operator can create another: policyctl token create."
	case errors.As(err, &e) && e.Code == api.CodeForbidden && strings.Contains(socket, "://"):
		return "Your token does not allow this. policyctl token self shows what it allows; an operator can create another."
	case strings.Contains(socket, "://") && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("Nothing listens at %s. Set listen in [admin] of policyd's configuration, or correct --server.", socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("No policyd listens on %s. Start it, or name its socket with --socket or POSTERN_SOCKET. A new node of a cluster listens there once it has joined: its log says what it waits for.", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("You may not open %s: only root and policyd's own user may.", socket)
	case errors.Is(err, context.DeadlineExceeded):
		return "The node did not answer in time. If this was a change, it may have been made: check, or repeat the command with the same --command-id."
	case errors.As(err, &e) && e.Code == api.CodeUnknown:
		return "It is not known whether the change was made. Repeat the command with the same --command-id: the change will be made only once."
	case errors.As(err, &e) && (e.Code == api.CodeBusy || e.Code == api.CodeUnavailable):
		return "Nothing was done. Try again; policyctl status shows the state of the node."
	case errors.As(err, &e) && e.Code == api.CodeInternal:
		return "policyd's own log says more."
	case errors.As(err, &e) && (e.Code == api.CodeBadResponse || e.Code == api.CodeMethod):
		return "policyctl and policyd may be of different versions; policyctl status shows the node's."
	}
	return ""
}
