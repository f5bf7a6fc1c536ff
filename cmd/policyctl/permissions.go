package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/policy"
)

type permissionsCmd struct {
	Markdown bool `help:"Write the page docs/PERMISSIONS.md."`
}

// Help is the command's help.
func (*permissionsCmd) Help() string {
	return `It prints the tables by which stanzas are decided. It needs no node.

Examples:

    policyctl permissions
    policyctl permissions --json | jq -r .permissions[].name
    policyctl permissions --markdown > docs/PERMISSIONS.md`
}

// A permissionsReply is the catalogue, the built-in roles and both tables.
type permissionsReply struct {
	TableVersion int            `json:"table_version"`
	Permissions  []catalogueRow `json:"permissions"`
	Roles        []builtinRow   `json:"roles"`
	Out          []stanzaRow    `json:"out"`
	In           []stanzaRow    `json:"in"`
}

type catalogueRow struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
	Source  string `json:"source"`
	// From is the weakest built-in role that gives the permission.
	From string `json:"given_from"`
}

type builtinRow struct {
	Role     string   `json:"role"`
	Inherits string   `json:"inherits,omitempty"`
	Gives    []string `json:"gives"`
}

type stanzaRow struct {
	Stanza  string `json:"stanza"`
	Address string `json:"address,omitempty"`
	Asks    string `json:"asks"`
	Refused string `json:"refused,omitempty"`
}

func permissionTables() permissionsReply {
	r := permissionsReply{TableVersion: policy.TableVersion}
	for p := range permission.All() {
		e := p.Entry()
		r.Permissions = append(r.Permissions, catalogueRow{e.Name, e.Meaning, e.Source, givenFrom(p)})
	}
	for _, b := range permission.BuiltinRoles() {
		r.Roles = append(r.Roles, builtinRow{b.Name, b.Inherits, b.Gives.Names()})
	}
	out, in := policy.Table()
	for _, l := range out {
		r.Out = append(r.Out, stanzaRow(l))
	}
	for _, l := range in {
		r.In = append(r.In, stanzaRow(l))
	}
	return r
}

// givenFrom names the first built-in role that gives a permission.
func givenFrom(p permission.Permission) string {
	for _, b := range permission.BuiltinRoles() {
		if b.Gives.Has(p) {
			return b.Name
		}
	}
	return ""
}

// Run prints the tables.
func (c *permissionsCmd) Run(a *app) error {
	r := permissionTables()
	if c.Markdown {
		if a.json {
			return usagef("give --json or --markdown, not both")
		}
		_, err := io.WriteString(a.out, r.markdown())
		return err
	}
	return a.print(r, r.write)
}

func (r *permissionsReply) write(w io.Writer) {
	t := &table{}
	t.add("PERMISSION", "GIVEN FROM", "MEANING")
	for _, p := range r.Permissions {
		t.add(p.Name, p.From, p.Meaning)
	}
	t.write(w)
	fmt.Fprintf(w, "\n%s\n", rolesLine(r.Roles, ""))
	fmt.Fprint(w, "\nWhat a client sends:\n")
	writeStanzas(w, r.Out, "TO")
	fmt.Fprint(w, "\nWhat the server sends to a client:\n")
	writeStanzas(w, r.In, "FROM")
}

// writeStanzas writes each row as a short paragraph, because the rows are too
// long for columns.
func writeStanzas(w io.Writer, rows []stanzaRow, address string) {
	for _, row := range rows {
		fmt.Fprintf(w, "  %s\n", row.Stanza)
		if row.Address != "" {
			fmt.Fprintf(w, "      %-7s %s\n", strings.ToLower(address), row.Address)
		}
		fmt.Fprintf(w, "      %-7s %s\n", "asks", row.Asks)
		if row.Refused != "" {
			fmt.Fprintf(w, "      %-7s %s\n", "else", row.Refused)
		}
	}
}

// rolesLine describes the order of the built-in roles.
func rolesLine(roles []builtinRow, quote string) string {
	var chain, same []string
	for _, b := range roles {
		chain = append(chain, quote+b.Role+quote)
		if len(b.Gives) == 0 {
			same = append(same, quote+b.Role+quote)
		}
	}
	return fmt.Sprintf("Built-in roles, each with all permissions of the role before it: %s. %s add no permissions of their own.",
		strings.Join(chain, " < "), strings.Join(same, ", "))
}

const markdownHead = `# Permissions, and which stanza asks for which

` + "`policyctl permissions --markdown`" + ` prints this page from the tables that decisions are based on (table version %d).
Do not edit it.

Names are opaque: there are no wildcards and no prefixes. A role may also contain names that a tenant invents, of the
form ` + "`[a-z0-9-]+(:[a-z0-9-]+)+`" + `; no stanza asks for them. Every list of permissions has the order of this table. A
refusal names the first missing permission. The sources *documented* and *module's code* refer to Prosody's
mod_restrict_xmpp.

`

const markdownOut = `
## What a client sends

*own account*: no address, or the account's bare JID. *own resource*: the account's bare JID with a resource. *own
server*: the account's domain. *local*: any other address in a domain or service of the same tenant, or in a service
that the operator shares with all tenants. *remote*: everything else, including other tenants of the same installation.
A stanza to a remote address also asks for ` + "`xmpp:federate`" + `. Unless the last column says otherwise, a stanza is
refused if a permission is missing: it is not forwarded, and the client gets the error ` + "`auth/forbidden`" + ` with the
name of the permission.

`

const markdownIn = `
## What the server sends to a client

Forgeries are dropped first. Any other stanza asks for the permissions of every row that applies to it.

`

const markdownEnd = `
## What a gateway cannot see

- Presence that the server itself broadcasts to remote contacts.
- A remote occupant behind a local room.
- What the server does for the account's other sessions.

The server's own rules must cover these cases. Only gateways may be able to reach the server's own client ports (c2s,
BOSH, WebSocket). Components that are not declared as services count as remote.
`

func (r *permissionsReply) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, markdownHead, r.TableVersion)
	b.WriteString("| permission | meaning | given from | source |\n|---|---|---|---|\n")
	for _, p := range r.Permissions {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", p.Name, cell(p.Meaning), p.From, cell(p.Source))
	}
	fmt.Fprintf(&b, "\n%s\n", rolesLine(r.Roles, "`"))
	b.WriteString(markdownOut)
	markdownRows(&b, r.Out, "to")
	b.WriteString(markdownIn)
	markdownRows(&b, r.In, "from")
	b.WriteString(markdownEnd)
	return b.String()
}

func markdownRows(b *strings.Builder, rows []stanzaRow, address string) {
	fmt.Fprintf(b, "| stanza | %s | asks for | without it |\n|---|---|---|---|\n", address)
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", cell(row.Stanza), cell(row.Address), code(row.Asks), cell(row.Refused))
	}
}

// cell escapes a text for one cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`).Replace(s) }

// code formats the names of permissions in a text as code.
func code(s string) string {
	words := strings.Fields(cell(s))
	for i, word := range words {
		name := strings.TrimRight(word, ",;")
		if _, ok := permission.ByName(name); ok {
			words[i] = "`" + name + "`" + word[len(name):]
		}
	}
	return strings.Join(words, " ")
}
