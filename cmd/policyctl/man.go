package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type manCmd struct{}

// Help is the command's help.
func (*manCmd) Help() string {
	return `It prints policyctl(1), generated from the help texts of all commands.

Examples:

    policyctl man | man -l -
    policyctl man > /usr/local/share/man/man1/policyctl.1`
}

// Run prints the manual page.
func (c *manCmd) Run(a *app) error {
	var page strings.Builder
	writeManual(&page, a.model)
	return a.print(map[string]string{"page": page.String()}, func(w io.Writer) { io.WriteString(w, page.String()) })
}

// writeManual writes policyctl(1) with all commands, in the man macros.
func writeManual(w io.Writer, model *kong.Application) {
	fmt.Fprint(w, ".TH POLICYCTL 1 \"\" Postern \"Postern manual\"\n.SH NAME\npolicyctl \\- change and explain who may do what behind Postern\n")
	fmt.Fprint(w, ".SH SYNOPSIS\n.B policyctl\n.I command\n.RI [ flags ]\n.SH DESCRIPTION\n")
	manText(w, description)
	fmt.Fprint(w, ".SH OPTIONS\nEvery command accepts these.\n")
	for _, f := range model.Flags {
		manFlag(w, f)
	}
	fmt.Fprint(w, ".SH COMMANDS\n")
	for _, leaf := range model.Leaves(true) {
		manCommand(w, leaf)
	}
	fmt.Fprint(w, ".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nRefused, failed or not reachable; a policy test failed.\n.TP\n.B 2\nThe command line or an input file could not be read, or\n.B \\-\\-yes\nis missing; nothing was done.\n.TP\n.B 3\nplan found something to change.\n")
	fmt.Fprint(w, ".SH ENVIRONMENT\n.TP\n.B POSTERN_SOCKET\nThe policy node's admin socket.\n.TP\n.B POSTERN_SERVER\nThe URL of a node to administer over the network, if\n.B \\-\\-server\nis omitted.\n.TP\n.B POSTERN_TOKEN_FILE\nThe file with the token for the server, if\n.B \\-\\-token\\-file\nis omitted.\n.TP\n.B POSTERN_TOKEN\nThe token itself, if no file is named.\n.TP\n.B POSTERN_CA\nThe file with the certificates to trust, if\n.B \\-\\-ca\nis omitted.\n.TP\n.B POSTERN_TENANT\nThe tenant, if\n.B \\-\\-tenant\nis omitted.\n.TP\n.BR NO_COLOR \", \" CLICOLOR_FORCE\nNo colours; colours even without a terminal.\n")
	fmt.Fprint(w, ".SH SEE ALSO\n.BR policyd (8),\n.BR gateway (8)\n")
}

func manCommand(w io.Writer, leaf *kong.Node) {
	fmt.Fprintf(w, ".SS \"%s\"\n", manEscape(strings.ReplaceAll(strings.TrimPrefix(leaf.Summary(), "policyctl "), " [flags]", "")))
	manText(w, leaf.Help)
	if leaf.Detail != "" {
		fmt.Fprint(w, ".PP\n")
		manText(w, leaf.Detail)
	}
	for _, arg := range leaf.Positional {
		fmt.Fprintf(w, ".TP\n.I %s\n", manEscape(arg.Name))
		manText(w, arg.Help)
	}
	for n := leaf; n != nil && n.Parent != nil; n = n.Parent {
		for _, f := range n.Flags {
			manFlag(w, f)
		}
	}
}

func manFlag(w io.Writer, f *kong.Flag) {
	if f.Hidden {
		return
	}
	name := "--" + f.Name
	if f.Short != 0 {
		name = "-" + string(f.Short) + ", " + name
	}
	if !f.IsBool() {
		name += "=" + f.FormatPlaceHolder()
	}
	fmt.Fprintf(w, ".TP\n.B \"%s\"\n", manEscape(strings.ReplaceAll(name, `"`, "")))
	manText(w, f.Help)
}

// manText writes paragraphs. Indented lines are printed as they are.
func manText(w io.Writer, text string) {
	verbatim := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		indented := strings.HasPrefix(line, "    ")
		switch {
		case indented && !verbatim:
			fmt.Fprint(w, ".PP\n.in +4n\n.nf\n")
		case !indented && verbatim && line != "":
			fmt.Fprint(w, ".fi\n.in\n.PP\n")
		case line == "" && !verbatim:
			fmt.Fprint(w, ".PP\n")
		}
		if line != "" || verbatim {
			verbatim = indented || verbatim && line == ""
		}
		if line = manEscape(strings.TrimPrefix(line, "    ")); line != "" {
			fmt.Fprintln(w, line)
		}
	}
	if verbatim {
		fmt.Fprint(w, ".fi\n.in\n")
	}
}

// manEscape escapes a text, so that roff does not read any of it as a request.
func manEscape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "'", `\(aq`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
