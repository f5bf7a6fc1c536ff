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

const maxAccounts = 1_000_000 // stored files of one kind on one host

// A view reports which of a host's stores are used by Prosody and can be read
// by the import.
type view struct {
	roles, accounts bool
	// known reports whether the roles of the host's accounts are known: they
	// were read, or no roles are stored.
	known bool
}

// readable determines which stores of a host to read. If Prosody keeps a store
// elsewhere, leftover files are not read.
func (m *mapping) readable(host string) view {
	c := m.config
	if v := c.get(host, "authorization"); v != lua.LNil && v.String() != "internal" {
		m.unread(host, c.at(host, "authorization"), fmt.Sprintf("authorization of %s is %s: Prosody takes roles from that module, not from account_roles or admins", host, show(v.String())), "set roles with policyctl member")
		return view{accounts: m.data != nil && m.folder[host] && m.driver(host, "accounts") == internal}
	}
	switch {
	case m.anonymous(host):
		return view{known: true} // Prosody stores no roles for anonymous accounts
	case m.data == nil:
		return view{}
	}
	v := view{roles: true, accounts: true, known: true}
	if d := m.driver(host, "account_roles"); d != internal {
		text := fmt.Sprintf("account_roles of %s is stored by %s, not in files: it was not read", host, show(d))
		if m.isDir(path.Join(m.dir(host), "account_roles")) || m.isDir(path.Join(m.dir(host), "roles")) {
			text += "; the files of it in the data directory are leftovers that Prosody does not read, and are not applied"
		}
		m.unread(host, m.config.storedAt(host), text, "convert it to files with Prosody's migrator")
		v.roles, v.known = false, false
	}
	if d := m.driver(host, "accounts"); d != internal {
		m.find(Lost, host, fmt.Sprintf("accounts of %s is stored by %s, not in files: it is unknown which accounts are disabled; Prosody still refuses their log-in", host, show(d)), "policyctl member suspend")
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

// internal is the storage driver that uses files.
const internal = "internal"

// unread records that the roles of a host's accounts are not known. Any of these
// accounts may have less than the default role in Prosody.
func (m *mapping) unread(host, where, text, fix string) {
	if m.options.DefaultForUnread {
		m.find(Changed, where, text+"; as requested, accounts get the default role of "+host+", although any may have less in Prosody", "")
		return
	}
	m.find(Unread, where, text+"; accounts of "+host+" get no permissions, since any may have less than the default role in Prosody", fix+"; or use --default-for-unread if no account has less")
}

// anonymous reports whether clients of a host log in anonymously, to temporary
// accounts.
func (m *mapping) anonymous(host string) bool {
	return m.config.get(host, "authentication").String() == "anonymous" || m.config.get(host, "anonymous_login") == lua.LTrue
}

// storedAt returns where the storage of a host is configured.
func (c *config) storedAt(host string) string {
	for _, option := range []string{"storage", "default_storage"} {
		if c.get(host, option) != lua.LNil {
			return c.at(host, option)
		}
	}
	return host
}

// dir returns the name of a host's folder in the data directory.
func (m *mapping) dir(host string) string { return encode(m.config.spelt[host]) }

func (m *mapping) isDir(name string) bool {
	info, err := fs.Stat(m.data, name)
	return err == nil && info.IsDir()
}

// locate looks for the hosts' folders. It returns false if folders are needed
// and none of them exists.
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

// stores returns names of folders. The folder of a host must contain at least
// one of these folders. If the host's accounts are stored elsewhere, the only
// name is ".", the folder of the host itself.
func (m *mapping) stores(host string) []string {
	if m.driver(host, "accounts") == internal && m.ownPasswords(host) {
		return []string{"accounts", "account_roles"}
	}
	return []string{"."}
}

// ownPasswords reports whether Prosody itself checks the passwords of a host's
// accounts.
func (m *mapping) ownPasswords(host string) bool {
	v := m.config.get(host, "authentication")
	return v == lua.LNil || strings.HasPrefix(v.String(), "internal")
}

// maxLooked bounds the number of folders that are searched for a hint.
const maxLooked = 1000

// missing says that the data directory contains nothing of a host, and describes
// the contents that it has instead.
func (m *mapping) missing(host string) string {
	text := fmt.Sprintf("the data directory contains nothing of %s: there is no folder %s in it", host, m.dir(host))
	if m.isDir(m.dir(host)) {
		text = fmt.Sprintf("the data directory contains no accounts of %s: there is neither %s/accounts nor %s/account_roles in it", host, m.dir(host), m.dir(host))
	}
	if v := m.config.own(global, "data_path"); v.Type() == lua.LTString {
		text += fmt.Sprintf(" (Prosody's data_path is %s)", show(v.String()))
	}
	if m.isDir("accounts") || m.isDir("account_roles") {
		return text + "; it looks like the folder of one host: give the directory above it"
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
			return text + fmt.Sprintf("; the folder is in %s: give that directory", show(entry.Name()))
		}
		if len(folders) < 3 {
			folders = append(folders, show(entry.Name()))
		}
	}
	if len(folders) == 0 {
		return text + "; it contains no folders"
	}
	return text + "; it contains the folders " + strings.Join(folders, ", ") + " …"
}

// An account holds the stored data of one account.
type account struct {
	role      string // empty for the default role
	secondary []string
	damaged   bool
	disabled  bool
}

// accounts reads the stored data of a host's accounts. An account without a
// stored role has the role byDefault.
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
				m.find(Damaged, file, fmt.Sprintf("the account %s@%s cannot be read: %v; it gets no permissions", user, host, err), "")
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

// roles imports the stored roles of an account.
func (m *mapping) roles(a *account, jid, file string, d datum, err error) {
	if err != nil {
		a.damaged = true
		m.find(Damaged, file, fmt.Sprintf("the roles of %s cannot be read: %v; the account gets no permissions", jid, err), "")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(d)) {
		name, isText := d[key].(string)
		switch {
		case key == "_default" && isText:
			a.role = name
		case key == "_default":
			a.damaged = true
			m.find(Damaged, file, fmt.Sprintf("the role of %s is not a name; the account gets no permissions", jid), "")
		case !strings.HasPrefix(key, "#"):
			if d[key] != false {
				a.secondary = append(a.secondary, key)
			}
		default:
			m.find(Damaged, file, fmt.Sprintf("%s has a secondary role that is not a name: left out", jid), "")
		}
	}
}

// older imports a role that Prosody 0.12 stored. Prosody 13 does not read the
// stored role until it is migrated. Therefore the account has the default role
// under Prosody 13 and the older role under 0.12. It gets here the role that
// gives less.
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
		m.find(Damaged, file, fmt.Sprintf("%s has several roles stored by Prosody 0.12, or they cannot be read; the account gets no permissions", jid), "set its role with policyctl member")
	case len(names) == 1:
		what := "not applied, since it gives no less than the default role"
		if given, standard := r.gives(names[0]), r.gives(byDefault); given&^standard == 0 && given != standard {
			a.role = names[0]
			what = "applied, since it gives less than the default role"
		} else if given&^standard != 0 && standard&^given != 0 {
			a.damaged = true
			what = "neither it nor the default role gives less, so the account gets no permissions"
		}
		m.find(Changed, file, fmt.Sprintf("the role %s of %s was stored by Prosody 0.12, and Prosody 13 does not read it until it is migrated: %s", show(names[0]), jid, what), "set its role with policyctl member")
	}
}

// driver returns the storage driver for one store of a host.
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

// each reads every file in one store of a host, in the order of the names.
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
			continue // lists, and files left after a crash
		}
		file := path.Join(dir, entry.Name())
		user, err := decode(name)
		if err != nil {
			m.find(Damaged, file, err.Error()+": Prosody does not name files like this; left out", "")
			continue
		}
		if encode(user) != name {
			m.find(Lost, file, fmt.Sprintf("Prosody's file for %s is named %s.dat, so Prosody does not read this one: left out", show(user), encode(user)), "")
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
