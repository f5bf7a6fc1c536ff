package fromprosody

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

// An account is what is stored of one.
type account struct {
	role      string // empty: the default
	secondary []string
	damaged   bool
	disabled  bool
}

// accounts reads what Prosody stores of a host's accounts.
func (m *mapping) accounts(host string) map[string]*account {
	all := map[string]*account{}
	if m.data == nil {
		return all
	}
	for _, store := range []string{"account_roles", "accounts"} {
		if d := m.driver(host, store); d != "internal" {
			m.find(Lost, host, fmt.Sprintf("%s is stored by %q, not in files: it was not read, and who has a role there gets the default one here", store, d), "migrate it to internal storage, or set roles with policyctl member")
		}
	}
	if v := m.config.get(host, "authorization"); v != lua.LNil && v.String() != "internal" {
		m.find(Lost, host, fmt.Sprintf("authorization is %q: roles that module knows are not read, and who has one there gets the default one here", v.String()), "")
	}
	of := func(user string) *account {
		if all[user] == nil {
			all[user] = &account{}
		}
		return all[user]
	}
	m.each(host, "account_roles", func(user, file string, d datum, err error) {
		a := of(user)
		if err != nil {
			a.damaged = true
			m.find(Damaged, file, fmt.Sprintf("the roles of %s@%s cannot be read: %v; the account gets nothing", user, host, err), "")
			return
		}
		for _, key := range slices.Sorted(maps.Keys(d)) {
			name, isText := d[key].(string)
			switch {
			case key == "_default" && isText:
				a.role = name
			case key == "_default":
				a.damaged = true
				m.find(Damaged, file, fmt.Sprintf("the role of %s@%s is no name; the account gets nothing", user, host), "")
			case !strings.HasPrefix(key, "#"):
				if d[key] != false {
					a.secondary = append(a.secondary, key)
				}
			default:
				m.find(Damaged, file, fmt.Sprintf("%s@%s has a secondary role that is no name: left out", user, host), "")
			}
		}
	})
	m.each(host, "accounts", func(user, file string, d datum, err error) {
		switch {
		case err != nil:
			of(user).damaged = true
			m.find(Damaged, file, fmt.Sprintf("the account %s@%s cannot be read: %v; it gets nothing", user, host, err), "")
		case d["disabled"] != nil && d["disabled"] != false:
			of(user).disabled = true
		}
	})
	m.each(host, "roles", func(user, file string, d datum, err error) { m.older(of(user), user+"@"+host, file, d, err) })
	return all
}

// older takes over a role of Prosody 0.12, as Prosody's own migration would:
// only where there is one, and none of the newer kind.
func (m *mapping) older(a *account, jid, file string, d datum, err error) {
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
		a.role = names[0]
		m.find(Changed, file, fmt.Sprintf("the role %s of %s is as Prosody 0.12 keeps it: taken over as Prosody's migration would", show(names[0]), jid), "")
	}
}

// driver is how Prosody stores something of a host.
func (m *mapping) driver(host, store string) string {
	v := m.config.get(host, "storage")
	if t, ok := v.(*lua.LTable); ok {
		v = t.RawGetString(store)
	}
	if v.Type() != lua.LTString {
		v = m.config.get(host, "default_storage")
	}
	if v.Type() != lua.LTString {
		return "internal"
	}
	return v.String()
}

// each reads every file of one store of a host, in the order of the names.
func (m *mapping) each(host, store string, visit func(user, file string, d datum, err error)) {
	dir := path.Join(encode(host), store)
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
		if !isData || entry.IsDir() {
			continue // what a crash left behind, and lists
		}
		file := path.Join(dir, entry.Name())
		user, err := decode(name)
		if err != nil {
			m.find(Damaged, file, err.Error()+": Prosody names no file so; left out", "")
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
