package policyfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/tenants"
	"github.com/postern-im/postern/xmpp/jid"
)

// Parse reads a file. name is its name in notes. The error is an Errors.
func Parse(name string, data []byte) (*File, error) {
	s, err := newSource(name, data)
	if err != nil {
		return nil, err
	}
	r := reader{source: s, missing: map[string]bool{}, remedy: "; if it is intended, set allow_unknown = true in the file"}
	b := builder{what: "policy file", tables: "[[domain]], [[domain.backend]], [[role]] and [[member]]", errorf: r.errorf}
	root := b.tree(data)
	if b.parser.Error() != nil {
		return nil, s.errors(r.errs)
	}
	f := r.file(root)
	outcome, err := tenants.Check(projections.New(), f.Tenant, f.Create)
	if err != nil {
		r.refused(err)
	}
	if len(r.errs) > 0 {
		return nil, s.errors(r.errs)
	}
	var warnings []remark
	for _, w := range outcome.Warnings {
		warnings = append(warnings, remark{s.offsetOf(w.Field), w.Text})
	}
	f.Warnings = s.notes(warnings)
	return f, nil
}

// reader converts a tree into a command. It collects all errors instead of
// stopping at the first.
type reader struct {
	*source
	errs []remark
	// missing holds the arguments that are absent or empty. The reader itself
	// reports the required ones. It therefore leaves out the command's errors
	// about them.
	missing map[string]bool
	// allowUnknown is set if the file allows permissions that look like
	// Postern's but are not in the catalogue.
	allowUnknown bool
	// remedy says how to allow such a permission. The error about it ends with it.
	remedy string
}

// refused adds the command's errors, except those about missing arguments.
func (r *reader) refused(err error) {
	var refused tenants.Errors
	if !errors.As(err, &refused) {
		r.errs = append(r.errs, remark{-1, err.Error()})
	}
	for _, e := range refused {
		if !r.missing[e.Field] {
			r.errs = append(r.errs, r.remarkOf(e.Field, e.Text))
		}
	}
}

func (r *reader) errorf(at int, format string, args ...any) {
	if len(r.errs) >= maxRemarks {
		return
	}
	r.errs = append(r.errs, remark{at, fmt.Sprintf(format, args...)})
}

// keys refuses all keys of a table that are not in known.
func (r *reader) keys(t *value, what string, known ...string) {
	for _, key := range t.keys {
		if !has(known, key.name) {
			r.errorf(key.at, "unknown key %s: a %s has %s", short(key.name), what, strings.Join(known, ", "))
		}
	}
}

// short quotes a name from the file, shortened if it is long.
func short(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// get returns the value of a key, or nil if the key is absent or its value is of
// another kind.
func (r *reader) get(t *value, key string, want kind) *value {
	v := t.table[key]
	if v == nil {
		return nil
	}
	if v.kind != want {
		r.errorf(v.at, "%s must be %s, not %s", key, kindNames[want], kindNames[v.kind])
		return nil
	}
	return v
}

// text reads a string. field is the path of the command's argument that it sets.
func (r *reader) text(t *value, key, field string) string {
	v := r.get(t, key, text)
	if v == nil {
		r.missing[field] = true
		return ""
	}
	r.fields[field] = v.at
	if v.text == "" {
		r.missing[field] = true
		r.errorf(v.at, "%s is empty", key)
	}
	return v.text
}

// needText is text for a required key.
func (r *reader) needText(t *value, key, field string) string {
	if t.table[key] == nil {
		r.errorf(t.at, "%s is missing", key)
	}
	return r.text(t, key, field)
}

// texts reads a list of at most most strings.
func (r *reader) texts(t *value, key, field string, most int) []string {
	v := r.get(t, key, list)
	if v == nil {
		return nil
	}
	r.fields[field] = v.at
	if len(v.items) > most {
		r.errorf(v.at, "%s has %d items: at most %d", key, len(v.items), most)
		return nil
	}
	names := make([]string, 0, len(v.items))
	for _, item := range v.items {
		if item.kind != text {
			r.errorf(item.at, "%s must hold strings, not %s", key, kindNames[item.kind])
			continue
		}
		r.fields[fmt.Sprintf("%s[%d]", field, len(names))] = item.at
		names = append(names, item.text)
	}
	return names
}

// permissions reads a list of permissions. A name that looks like one of
// Postern's permissions but is not in the catalogue is an error: in a deny or a
// ceiling, the misspelt name would forbid nothing.
func (r *reader) permissions(t *value, key, field string, most int) []string {
	names := r.texts(t, key, field, most)
	for i, name := range names {
		if !r.allowUnknown && permission.CheckName(name) == nil && permission.Misspelt(name) {
			r.errorf(r.fields[fmt.Sprintf("%s[%d]", field, i)], "%s%s", UnknownPermission(name), r.remedy)
		}
	}
	return names
}

// UnknownPermission returns the text of an error about a name that is not one of
// Postern's permissions. It suggests the nearest one.
func UnknownPermission(name string) string {
	text := fmt.Sprintf("there is no permission %s", short(name))
	if p, ok := permission.Nearest(name); ok {
		text += fmt.Sprintf(" (the nearest is %q)", p.Name())
	}
	return text
}

// bool reads true or false; nil if the key is absent.
func (r *reader) bool(t *value, key, field string) *bool {
	v := r.get(t, key, boolean)
	if v == nil {
		return nil
	}
	r.fields[field] = v.at
	yes := v.text == "true"
	return &yes
}

// number reads a whole number of decimal digits, which may be grouped by
// underscores (TOML 1.0, "Integer"); 0 if the key is absent.
func (r *reader) number(t *value, key, field string) uint64 {
	v := r.get(t, key, number)
	if v == nil {
		return 0
	}
	r.fields[field] = v.at
	n, err := strconv.ParseUint(strings.ReplaceAll(v.text, "_", ""), 10, 64)
	if err != nil || len(v.text) > 1 && v.text[0] == '0' {
		r.errorf(v.at, "%s is %s: want a whole number in decimal digits, such as 5000", key, short(v.text))
		return 0
	}
	return n
}

// tables reads an array of tables.
func (r *reader) tables(t *value, key string) []*value {
	v := t.table[key]
	if v == nil {
		return nil
	}
	if v.kind != list {
		r.errorf(v.at, "%s must be a list of tables, each under [[%s]] or in {}, not %s", key, key, kindNames[v.kind])
		return nil
	}
	var tables []*value
	for _, item := range v.items {
		if item.kind != table {
			r.errorf(item.at, "%s must hold tables, not %s", key, kindNames[item.kind])
			continue
		}
		tables = append(tables, item)
	}
	return tables
}

func (r *reader) file(root *value) *File {
	known := []string{"tenant", "name", "ceiling", "max_sessions"}
	for setting := range events.AllSettings() {
		known = append(known, setting.Name)
	}
	r.keys(root, "policy file", append(known, "suspended", "services", "allow_unknown", "domain", "role", "member")...)
	if v := r.bool(root, "allow_unknown", "allow_unknown"); v != nil {
		r.allowUnknown = *v
	}
	f := &File{source: r.source}
	f.Tenant = r.tenant(root)
	f.Create.DisplayName = r.text(root, "name", "display_name")
	f.Create.Ceiling = r.permissions(root, "ceiling", "ceiling", tenants.MaxPermissions)
	f.Create.MaxSessions = r.number(root, "max_sessions", "max_sessions")
	for setting := range events.AllSettings() {
		f.Create.Settings = r.setting(root, setting, f.Create.Settings)
	}
	f.Create.Suspended = r.bool(root, "suspended", "suspended")
	r.services(&f.Create, root, "all_services")
	for _, t := range r.tables(root, "domain") {
		r.domain(&f.Create, t)
	}
	for _, t := range r.tables(root, "role") {
		r.role(&f.Create, t)
	}
	for _, t := range r.tables(root, "member") {
		r.member(&f.Create, t)
	}
	return f
}

// setting reads one of the tenant's settings into s.
func (r *reader) setting(root *value, setting events.Setting, s events.Settings) events.Settings {
	name := r.text(root, setting.Name, setting.Name)
	if name == "" {
		return s
	}
	v, ok := setting.Parse(name)
	if !ok {
		r.errorf(r.fields[setting.Name], "%s is %s: want %s", setting.Name, short(name), oneOf(setting.Values))
		return s
	}
	return setting.In(s, v)
}

// oneOf joins the names of values, as in "full", "domain" or "class".
func oneOf(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// tenant reads the tenant's id. If it is missing or wrong, tenant returns a
// valid id instead, so that the rest of the file can be checked.
func (r *reader) tenant(root *value) string {
	if root.table["tenant"] == nil {
		r.errorf(-1, "tenant is missing: name the tenant that the policy is for")
	}
	id := r.text(root, "tenant", "tenant")
	if id == "" {
		return "tenant"
	}
	if err := tenants.CheckID(id); err != nil {
		r.errorf(r.fields["tenant"], "%v", err)
		return "tenant"
	}
	return id
}

func (r *reader) domain(c *tenants.CreateTenant, t *value) {
	r.keys(t, "domain", "name", "default_role", "services", "backend", "suspended")
	at := fmt.Sprintf("domains[%d]", len(c.Domains))
	r.fields[at] = t.at
	d := tenants.AddDomain{
		Domain:      r.needText(t, "name", at+".domain"),
		DefaultRole: r.text(t, "default_role", at+".default_role"),
		Suspended:   r.bool(t, "suspended", at+".suspended"),
	}
	backends := r.tables(t, "backend")
	if len(backends) > tenants.MaxBackends {
		r.errorf(t.table["backend"].at, "%d backends: at most %d", len(backends), tenants.MaxBackends)
		backends = nil
	}
	for _, b := range backends {
		d.Backends = append(d.Backends, r.backend(b, fmt.Sprintf("%s.backends[%d]", at, len(d.Backends))))
	}
	if r.isNew("domain", d.Domain, r.fields[at+".domain"]) {
		c.Domains = append(c.Domains, d)
	}
	r.services(c, t, at+".services")
}

// services reads a list of services. It may be a key of the tenant or of a
// domain; both mean the same.
func (r *reader) services(c *tenants.CreateTenant, t *value, field string) {
	for i, name := range r.texts(t, "services", field, tenants.MaxServices) {
		place := r.fields[fmt.Sprintf("%s[%d]", field, i)]
		if r.isNew("service", name, place) {
			r.fields[fmt.Sprintf("services[%d]", len(c.Services))] = place
			c.Services = append(c.Services, tenants.AddService{Service: name})
		}
	}
}

// isNew refuses a domain or service that the file already has. The command would
// refuse it too, but might report the earlier place in the file.
func (r *reader) isNew(what, name string, at int) bool {
	prepared, err := jid.Domain(name)
	if err != nil {
		return true // the command refuses it
	}
	if before, ok := r.places[prepared]; ok {
		r.errorf(at, "%s %s is in the file already, in line %d", what, short(prepared), r.lines.line(before))
		return false
	}
	r.places[prepared] = at
	return true
}

func (r *reader) backend(t *value, at string) events.Backend {
	r.keys(t, "backend", "address", "security", "proxy")
	r.fields[at] = t.at
	b := events.Backend{Address: r.needText(t, "address", at+".address")}
	name := r.needText(t, "security", at+".security")
	security, ok := events.Parse[events.Security](name)
	if b.Security = security; !ok {
		b.Security = events.SecurityTLS // allowed with every address, which is still checked
		if name != "" {
			r.errorf(r.fields[at+".security"], "security is %s: want %s", short(name), oneOf(events.Names[events.Security]()))
		}
	}
	if proxy := r.bool(t, "proxy", at+".proxy"); proxy != nil {
		b.Proxy = *proxy
	}
	return b
}

// role reads a role. A role with the name of a built-in role adjusts the
// built-in role; any other is a custom role.
func (r *reader) role(c *tenants.CreateTenant, t *value) {
	name := ""
	if v := t.table["name"]; v != nil {
		name = v.text
	}
	if permission.IsBuiltin(name) {
		at := fmt.Sprintf("builtin_roles[%d]", len(c.BuiltinRoles))
		r.fields[at] = t.at
		r.keys(t, "built-in role", "name", "add", "remove")
		c.BuiltinRoles = append(c.BuiltinRoles, tenants.AdjustRole{
			Role:   r.text(t, "name", at+".role"),
			Add:    r.permissions(t, "add", at+".add", tenants.MaxPermissions),
			Remove: r.permissions(t, "remove", at+".remove", tenants.MaxPermissions),
		})
		return
	}
	at := fmt.Sprintf("roles[%d]", len(c.Roles))
	r.fields[at] = t.at
	r.keys(t, "custom role", "name", "inherits", "allow", "deny")
	c.Roles = append(c.Roles, tenants.DefineRole{
		Role:     r.needText(t, "name", at+".role"),
		Inherits: r.texts(t, "inherits", at+".inherits", tenants.MaxParents),
		Allow:    r.permissions(t, "allow", at+".allow", tenants.MaxPermissions),
		Deny:     r.permissions(t, "deny", at+".deny", tenants.MaxPermissions),
	})
}

func (r *reader) member(c *tenants.CreateTenant, t *value) {
	r.keys(t, "member", "jid", "role", "secondary", "suspended")
	at := fmt.Sprintf("members[%d]", len(c.Members))
	r.fields[at] = t.at
	c.Members = append(c.Members, tenants.SetMemberRoles{
		JID:       r.needText(t, "jid", at+".jid"),
		Role:      r.text(t, "role", at+".role"),
		Secondary: r.texts(t, "secondary", at+".secondary", tenants.MaxSecondary),
		Suspended: r.bool(t, "suspended", at+".suspended"),
	})
}
