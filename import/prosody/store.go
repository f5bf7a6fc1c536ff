package prosody

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

const maxAccounts = 1_000_000 // stored files of one kind, of one host

// A view of a host's stores says which of them Prosody reads and the import can.
type view struct {
	roles, accounts bool
	// known reports whether the roles of the host's accounts are known: they
	// are read, or there are none.
	known bool
}

// readable finds out what of a host's stores is to be read. A store that Prosody
// keeps elsewhere is not read here, whatever files are left of it.
func (m *mapping) readable(host string) view {
	c := m.config
	if v := c.get(host, "authorization"); v != lua.LNil && v.String() != "internal" {
		m.unread(host, c.at(host, "authorization"), fmt.Sprintf("authorization of %s is %s: Prosody takes roles from that module, and neither from account_roles nor from admins", host, show(v.String())), "set roles with policyctl member")
		return view{accounts: m.data != nil && m.folder[host] && m.driver(host, "accounts") == internal}
	}
	switch {
	case m.anonymous(host):
		return view{known: true} // stores nothing
	case m.data == nil:
		return view{}
	}
	v := view{roles: true, accounts: true, known: true}
	if d := m.driver(host, "account_roles"); d != internal {
		text := fmt.Sprintf("account_roles of %s is stored by %s, not in files: it was not read", host, show(d))
		if m.isDir(path.Join(m.dir(host), "account_roles")) || m.isDir(path.Join(m.dir(host), "roles")) {
			text += "; files that are left of it in the data directory are not what Prosody reads, and are not applied"
		}
		m.unread(host, m.config.storedAt(host), text, "bring it into files with Prosody's migrator")
		v.roles, v.known = false, false
	}
	if d := m.driver(host, "accounts"); d != internal {
		m.find(Lost, host, fmt.Sprintf("accounts of %s is stored by %s, not in files: which accounts are disabled is not known; Prosody goes on refusing their log-in", host, show(d)), "policyctl member suspend")
		v.accounts = false
	}
	if (v.roles || v.accounts) && !m.folder[host] {
		if v.roles {
			m.unread(host, host, m.missing(host), "give Prosody's data directory with --data")
		}
		return view{}
	}
	return v
}

// internal is the driver that stores in files.
const internal = "internal"

// unread tells that the roles of a host's accounts are not known. Any of them
// may be less than the default.
func (m *mapping) unread(host, where, text, fix string) {
	if m.options.DefaultForUnread {
		m.find(Changed, where, text+"; accounts get the default role of "+host+", as was asked for, though any may have less in Prosody", "")
		return
	}
	m.find(Unread, where, text+"; accounts of "+host+" get nothing, since any may have less than the default role in Prosody", fix+"; or, where no account has less, say --default-for-unread")
}

// anonymous reports whether clients of a host log in to accounts that are gone
// with them.
func (m *mapping) anonymous(host string) bool {
	return m.config.get(host, "authentication").String() == "anonymous" || m.config.get(host, "anonymous_login") == lua.LTrue
}

// storedAt says where the storage of a host is chosen.
func (c *config) storedAt(host string) string {
	for _, option := range []string{"storage", "default_storage"} {
		if c.get(host, option) != lua.LNil {
			return c.at(host, option)
		}
	}
	return host
}

// dir is a host's folder in the data directory.
func (m *mapping) dir(host string) string { return encode(m.config.spelt[host]) }

func (m *mapping) isDir(name string) bool {
	info, err := fs.Stat(m.data, name)
	return err == nil && info.IsDir()
}

// locate looks for the hosts' folders. It reports whether there is one, or none
// is wanted.
func (m *mapping) locate(hosts []string) bool {
	m.folder = map[string]bool{}
	if m.data == nil {
		return true
	}
	wanted, found := 0, 0
	for _, h := range hosts {
		if m.anonymous(h) || m.driver(h, "account_roles") != internal {
			m.folder[h] = m.isDir(m.dir(h))
			continue
		}
		wanted++
		there := false
		for _, store := range m.stores(h) {
			there = there || m.isDir(path.Join(m.dir(h), store))
		}
		if m.folder[h] = there; there {
			found++
		}
	}
	return found > 0 || wanted == 0
}

// stores are the folders of which one at least is in a host's folder, if it is
// one. Where accounts are kept elsewhere, there may be none of them.
func (m *mapping) stores(host string) []string {
	if m.driver(host, "accounts") == internal && m.ownPasswords(host) {
		return []string{"accounts", "account_roles"}
	}
	return []string{"."}
}

// ownPasswords reports whether a host's accounts are Prosody's own.
func (m *mapping) ownPasswords(host string) bool {
	v := m.config.get(host, "authentication")
	return v == lua.LNil || strings.HasPrefix(v.String(), "internal")
}

// maxLooked bounds how many folders are looked into for a hint.
const maxLooked = 1000

// missing says what was looked for of a host in the data directory, and what is
// there instead.
func (m *mapping) missing(host string) string {
	text := fmt.Sprintf("the data directory holds nothing of %s: there is no folder %s in it", host, m.dir(host))
	if m.isDir(m.dir(host)) {
		text = fmt.Sprintf("the data directory holds no accounts of %s: neither %s/accounts nor %s/account_roles is in it", host, m.dir(host), m.dir(host))
	}
	if v := m.config.own(global, "data_path"); v.Type() == lua.LTString {
		text += fmt.Sprintf(" (Prosody's is %s)", show(v.String()))
	}
	if m.isDir("accounts") || m.isDir("account_roles") {
		return text + "; it looks like one host's own folder: give the directory above it"
	}
	entries, err := fs.ReadDir(m.data, ".")
	if err != nil {
		return text
	}
	var folders []string
	for i, entry := range entries {
		if i == maxLooked {
			break
		}
		if !entry.IsDir() {
			continue
		}
		if m.isDir(path.Join(entry.Name(), m.dir(host))) {
			return text + fmt.Sprintf("; it is in %s: give that one", show(entry.Name()))
		}
		if len(folders) < 3 {
			folders = append(folders, show(entry.Name()))
		}
	}
	if len(folders) == 0 {
		return text + "; it holds no folder at all"
	}
	return text + "; it holds the folders " + strings.Join(folders, ", ") + " …"
}

// An account is what is stored of one.
type account struct {
	role      string // empty: the default
	secondary []string
	damaged   bool
	disabled  bool
}

// accounts reads what Prosody stores of a host's accounts. An account without a
// role has byDefault.
func (m *mapping) accounts(host string, v view, r *registry, byDefault string) map[string]*account {
	all := map[string]*account{}
	of := func(user string) *account {
		if all[user] == nil {
			all[user] = &account{}
		}
		return all[user]
	}
	if v.roles {
		m.each(host, "account_roles", func(user, file string, d datum, err error) {
			m.roles(of(user), user+"@"+host, file, d, err)
		})
	}
	if v.accounts {
		m.each(host, "accounts", func(user, file string, d datum, err error) {
			switch {
			case err != nil:
				of(user).damaged = true
				m.find(Damaged, file, fmt.Sprintf("the account %s@%s cannot be read: %v; it gets nothing", user, host, err), "")
			case d["disabled"] != nil && d["disabled"] != false:
				of(user).disabled = true
			}
		})
	}
	if v.roles && m.driver(host, "roles") == internal {
		m.each(host, "roles", func(user, file string, d datum, err error) {
			m.older(of(user), user+"@"+host, file, d, err, r, byDefault)
		})
	}
	return all
}

// roles takes over what is stored of an account's roles.
func (m *mapping) roles(a *account, jid, file string, d datum, err error) {
	if err != nil {
		a.damaged = true
		m.find(Damaged, file, fmt.Sprintf("the roles of %s cannot be read: %v; the account gets nothing", jid, err), "")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(d)) {
		name, isText := d[key].(string)
		switch {
		case key == "_default" && isText:
			a.role = name
		case key == "_default":
			a.damaged = true
			m.find(Damaged, file, fmt.Sprintf("the role of %s is no name; the account gets nothing", jid), "")
		case !strings.HasPrefix(key, "#"):
			if d[key] != false {
				a.secondary = append(a.secondary, key)
			}
		default:
			m.find(Damaged, file, fmt.Sprintf("%s has a secondary role that is no name: left out", jid), "")
		}
	}
}

// older deals with a role that Prosody 0.12 stored. Prosody 13 does not read it
// until it is migrated: the account has the default role there, the older one
// where 0.12 still runs. It gets the one of both that gives less.
func (m *mapping) older(a *account, jid, file string, d datum, err error, r *registry, byDefault string) {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if !strings.HasPrefix(key, "_") && !strings.HasPrefix(key, "#") {
			names = append(names, key)
		}
	}
	switch {
	case a.role != "" || a.damaged || len(a.secondary) > 0:
	case err != nil || len(names) > 1:
		a.damaged = true
		m.find(Damaged, file, fmt.Sprintf("the roles of %s as Prosody 0.12 keeps them are several or cannot be read; the account gets nothing", jid), "set its role with policyctl member")
	case len(names) == 1:
		what := "not applied, since it gives no less than the default role"
		if given, standard := r.gives(names[0]), r.gives(byDefault); given&^standard == 0 && given != standard {
			a.role = names[0]
			what = "applied, since it gives less than the default role"
		} else if given&^standard != 0 && standard&^given != 0 {
			a.damaged = true
			what = "neither that nor the default role gives less: the account gets nothing"
		}
		m.find(Changed, file, fmt.Sprintf("the role %s of %s is as Prosody 0.12 keeps it, and Prosody 13 does not read it before it is migrated: %s", show(names[0]), jid, what), "set its role with policyctl member")
	}
}

// driver is how Prosody stores something of a host.
func (m *mapping) driver(host, store string) string {
	v := m.config.get(host, "storage")
	if t, ok := v.(*lua.LTable); ok {
		v = t.RawGetString(store)
	}
	if v == lua.LTrue || v.Type() == lua.LTTable || v.Type() == lua.LTNumber {
		return v.String() // no driver has such a name
	}
	if v.Type() != lua.LTString {
		v = m.config.get(host, "default_storage")
	}
	if v == lua.LNil || v == lua.LFalse {
		return internal
	}
	return v.String()
}

// each reads every file of one store of a host, in the order of the names.
func (m *mapping) each(host, store string, visit func(user, file string, d datum, err error)) {
	dir := path.Join(m.dir(host), store)
	entries, err := fs.ReadDir(m.data, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		m.fault = fmt.Errorf("%w: %s: %w", ErrUnreadable, dir, reason(err))
		return
	case len(entries) > maxAccounts:
		m.fault = fmt.Errorf("%w: %s: %d files: at most %d", ErrUnreadable, dir, len(entries), maxAccounts)
		return
	}
	for _, entry := range entries {
		name, isData := strings.CutSuffix(entry.Name(), ".dat")
		if !isData {
			continue // what a crash left behind, and lists
		}
		file := path.Join(dir, entry.Name())
		user, err := decode(name)
		if err != nil {
			m.find(Damaged, file, err.Error()+": Prosody names no file so; left out", "")
			continue
		}
		if encode(user) != name {
			m.find(Lost, file, fmt.Sprintf("Prosody names the file of %s %s.dat and does not read this one: left out", show(user), encode(user)), "")
			continue
		}
		d, err := m.datum(file)
		visit(user, file, d, err)
	}
}

func (m *mapping) datum(file string) (datum, error) {
	f, err := m.data.Open(file)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDatum+1))
	if err != nil {
		return nil, reason(err)
	}
	return parseDatum(data)
}
