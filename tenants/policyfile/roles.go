package policyfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/permission"
)

func (p *parser) roles(tables []roleTable) {
	for i, t := range tables {
		path := fmt.Sprintf("role.%d", i)
		r := Role(t)
		if p.role(r.Name) != nil {
			p.errorf(path+".name", "role %q stands twice", r.Name)
		}
		p.file.Roles = append(p.file.Roles, r)
		p.roleKeys(path, &r)
		for _, list := range []struct {
			key   string
			names []string
		}{{"allow", r.Allow}, {"deny", r.Deny}, {"add", r.Add}, {"remove", r.Remove}} {
			p.permissions(path+"."+list.key, list.names)
		}
	}
	for i := range p.file.Roles {
		p.parents(fmt.Sprintf("role.%d.inherits", i), &p.file.Roles[i])
	}
	p.cycles()
}

// roleKeys refuses the keys a role of its kind does not have.
func (p *parser) roleKeys(path string, r *Role) {
	switch {
	case r.Name == "":
		p.errorf(path, "role without a name")
	case permission.IsBuiltin(r.Name):
		for _, key := range []struct {
			name string
			set  bool
		}{{"inherits", r.Inherits != nil}, {"allow", r.Allow != nil}, {"deny", r.Deny != nil}} {
			if key.set {
				p.errorf(path+"."+key.name, "role %q is built in: it takes add and remove, not %s", r.Name, key.name)
			}
		}
	case permission.IsReserved(r.Name):
		p.errorf(path+".name", "role %q: names that begin with %q are reserved for the built-in roles", r.Name, permission.ReservedPrefix)
	default:
		for _, key := range []struct {
			name string
			set  bool
		}{{"add", r.Add != nil}, {"remove", r.Remove != nil}} {
			if key.set {
				p.errorf(path+"."+key.name, "role %q is a custom role: it takes allow and deny, not %s", r.Name, key.name)
			}
		}
	}
}

func (p *parser) parents(path string, r *Role) {
	for i, parent := range r.Inherits {
		at := fmt.Sprintf("%s.%d", path, i)
		p.roleExists(at, parent)
		if slices.Contains(r.Inherits[:i], parent) {
			p.errorf(at, "parent %q stands twice", parent)
		}
	}
}

func (p *parser) role(name string) *Role {
	for i := range p.file.Roles {
		if p.file.Roles[i].Name == name {
			return &p.file.Roles[i]
		}
	}
	return nil
}

func (p *parser) roleExists(path, name string) {
	if !permission.IsBuiltin(name) && p.role(name) == nil {
		p.errorf(path, "no role %q: define it in this file, or use a built-in one", name)
	}
}

// cycles finds roles that inherit from themselves. Each is reported once, at
// the parent that closes the circle.
func (p *parser) cycles() {
	const (
		unseen = iota
		open
		done
	)
	state := map[string]int{}
	var trail []string
	var visit func(i int)
	visit = func(i int) {
		r := &p.file.Roles[i]
		state[r.Name] = open
		trail = append(trail, r.Name)
		for j, parent := range r.Inherits {
			k := slices.IndexFunc(p.file.Roles, func(r Role) bool { return r.Name == parent })
			switch {
			case k < 0 || state[parent] == done:
			case state[parent] == open:
				circle := append(slices.Clone(trail[slices.Index(trail, parent):]), parent)
				p.errorf(fmt.Sprintf("role.%d.inherits.%d", i, j), "role %q inherits from itself: %s", parent, strings.Join(circle, " -> "))
			default:
				visit(k)
			}
		}
		trail = trail[:len(trail)-1]
		state[r.Name] = done
	}
	for i := range p.file.Roles {
		if state[p.file.Roles[i].Name] == unseen {
			visit(i)
		}
	}
}
