package policyfile

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/tenants"
)

const header = `# The complete policy of one tenant. When the file is applied, everything that it
# leaves out is removed from the tenant. Only "suspended" keeps its present value
# if it is left out.
`

// Write writes a tenant as a file. The same tenant always gives the same bytes,
// and Parse returns an equal command. Write keeps the order of lists;
// tenants.Desired sorts them. byOperator lists the domains and accounts that
// only an operator may resume; a comment in the file marks them.
func Write(tenant string, c tenants.ApplyTenant, byOperator ...string) []byte {
	bound := map[string]bool{}
	for _, name := range byOperator {
		bound[name] = true
	}
	w := &writer{}
	w.WriteString(header)
	w.tenant(tenant, &c)
	for _, r := range c.BuiltinRoles {
		w.table("role")
		w.text("name", r.Role)
		w.list("add", r.Add)
		w.list("remove", r.Remove)
	}
	for _, r := range c.Roles {
		w.table("role")
		w.text("name", r.Role)
		w.list("inherits", r.Inherits)
		w.list("allow", r.Allow)
		w.list("deny", r.Deny)
	}
	for _, d := range c.Domains {
		w.table("domain")
		w.text("name", d.Domain)
		w.text("default_role", d.DefaultRole)
		w.suspended(d.Suspended, bound[d.Domain])
		for _, b := range d.Backends {
			w.table("domain.backend")
			w.text("address", b.Address)
			w.text("security", b.Security.String())
			if b.Proxy {
				fmt.Fprintln(w, "proxy = true")
			}
		}
	}
	for _, m := range c.Members {
		w.table("member")
		w.text("jid", m.JID)
		w.text("role", m.Role)
		w.list("secondary", m.Secondary)
		w.suspended(m.Suspended, bound[m.JID])
	}
	return []byte(w.String())
}

// tenant writes the keys of the tenant itself. In TOML they must come before the
// first table.
func (w *writer) tenant(id string, c *tenants.ApplyTenant) {
	w.text("tenant", id)
	w.text("name", c.DisplayName)
	w.list("ceiling", c.Ceiling)
	if c.MaxSessions > 0 {
		fmt.Fprintf(w, "max_sessions = %d\n", c.MaxSessions)
	}
	for setting := range events.AllSettings() {
		if v := setting.Of(c.Settings); v != 0 {
			w.text(setting.Name, setting.Values[v])
		}
	}
	var services []string
	for _, s := range c.Services {
		services = append(services, s.Service)
	}
	w.list("services", services)
	if slices.ContainsFunc(permissionsOf(c), permission.Misspelt) {
		w.WriteString("allow_unknown = true # some permissions in this file are not Postern's\n")
	}
	w.suspended(c.Suspended, false)
}

// permissionsOf returns all permissions that a tenant's policy names.
func permissionsOf(c *tenants.ApplyTenant) []string {
	names := slices.Clone(c.Ceiling)
	for _, r := range c.BuiltinRoles {
		names = slices.Concat(names, r.Add, r.Remove)
	}
	for _, r := range c.Roles {
		names = slices.Concat(names, r.Allow, r.Deny)
	}
	return names
}

// writer writes keys. It leaves out keys without a value.
type writer struct{ strings.Builder }

func (w *writer) table(name string) { fmt.Fprintf(w, "\n[[%s]]\n", name) }

func (w *writer) text(key, value string) {
	if value != "" {
		fmt.Fprintf(w, "%s = %s\n", key, quoted(value))
	}
}

func (w *writer) suspended(value *bool, byOperator bool) {
	if value == nil {
		return
	}
	comment := ""
	if *value && byOperator {
		comment = " # by the operator"
	}
	fmt.Fprintf(w, "suspended = %t%s\n", *value, comment)
}

// list writes a short list in one line, and a longer one with one item in each
// line.
func (w *writer) list(key string, values []string) {
	const most = 100
	if len(values) == 0 {
		return
	}
	var items []string
	for _, v := range values {
		items = append(items, quoted(v))
	}
	if line := fmt.Sprintf("%s = [%s]", key, strings.Join(items, ", ")); len(line) <= most {
		fmt.Fprintln(w, line)
		return
	}
	fmt.Fprintf(w, "%s = [\n", key)
	for _, item := range items {
		fmt.Fprintf(w, "  %s,\n", item)
	}
	fmt.Fprintln(w, "]")
}

// quoted returns a basic string (TOML 1.0, "String"), with control characters
// escaped.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			fmt.Fprintf(&b, `\u%04X`, r)
		case r == utf8.RuneError:
			b.WriteString(`\uFFFD`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
