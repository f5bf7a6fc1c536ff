package fromprosody

import (
	"bytes"
	"fmt"
	"strings"
)

// write is a policy file of a tenant, the same bytes for the same tenant.
func write(t *tenant) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by policyctl import prosody. Read the report beside it before use.\ntenant = %s\n", quoted(t.id))
	for i, d := range t.domains {
		fmt.Fprintf(&b, "\n[[domain]]\nname = %s\n", quoted(d.name))
		if d.defaultRole != "" {
			fmt.Fprintf(&b, "default_role = %s\n", quoted(d.defaultRole))
		}
		if i == 0 {
			strs(&b, "services", t.services)
		}
		if t.backend != "" {
			fmt.Fprintf(&b, "backend = [{ address = %s, security = \"none\" }]\n", quoted(t.backend))
		} else {
			b.WriteString("# backend = [{ address = \"127.0.0.1:5222\", security = \"none\" }]\n")
		}
	}
	for _, r := range t.builtin {
		fmt.Fprintf(&b, "\n[[role]]\nname = %s\n", quoted(r.name))
		strs(&b, "add", r.add)
		strs(&b, "remove", r.remove)
	}
	for _, r := range t.roles {
		fmt.Fprintf(&b, "\n[[role]]\nname = %s\n", quoted(r.name))
		strs(&b, "inherits", r.inherits)
		strs(&b, "allow", r.allow)
		strs(&b, "deny", r.deny)
	}
	for _, m := range t.members {
		b.WriteString("\n[[member]]")
		if m.why != "" {
			fmt.Fprintf(&b, " # %s", m.why)
		}
		fmt.Fprintf(&b, "\njid = %s\n", quoted(m.jid))
		if m.role != "" {
			fmt.Fprintf(&b, "role = %s\n", quoted(m.role))
		}
		strs(&b, "secondary", m.secondary)
	}
	return b.Bytes()
}

func strs(b *bytes.Buffer, key string, list []string) {
	if len(list) == 0 {
		return
	}
	items := make([]string, len(list))
	for i, s := range list {
		items[i] = quoted(s)
	}
	if len(list) < 3 {
		fmt.Fprintf(b, "%s = [%s]\n", key, strings.Join(items, ", "))
		return
	}
	fmt.Fprintf(b, "%s = [\n    %s,\n]\n", key, strings.Join(items, ",\n    "))
}

// quoted is a basic string of TOML.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
