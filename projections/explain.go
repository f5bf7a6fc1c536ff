package projections

import (
	"slices"

	"github.com/postern-im/postern/permission"
)

// An Answer is the result of one step of a look-up.
type Answer uint8

// The answers.
const (
	Silent  Answer = iota // the role's own table does not name the permission
	Gives                 // a built-in role gives it by default
	Adds                  // the tenant added it to a built-in role
	Removes               // the tenant removed it from a built-in role
	Allows                // a custom role allows it
	Denies                // a custom role denies it
	Ceiling               // the tenant's ceiling forbids it
	Nobody                // all roles in the chain were silent: denied
)

var answerNames = [...]string{"silent", "gives", "adds", "removes", "allows", "denies", "ceiling", "nobody"}

// String names the answer in one word.
func (a Answer) String() string { return answerNames[a] }

// Granted reports whether the answer grants the permission.
func (a Answer) Granted() bool { return a == Gives || a == Adds || a == Allows }

// A Step is one step of a look-up. The look-up visits a role in each step, except
// that it may end with a step without a role: Ceiling or Nobody. The last step
// decides.
type Step struct {
	Role   string // empty for Ceiling and Nobody
	Depth  int    // 0 for the role looked up, 1 for its parents, …
	Answer Answer
}

// Explain looks a permission up in a role and returns every step, or nil if the
// role is unknown. The permission need not be in the catalogue.
func (t *Tenant) Explain(role, perm string) []Step {
	ref, err := t.roleNamed(role)
	if err != nil {
		return nil
	}
	l := lookup{tenant: t, permission: perm, seen: make([]bool, len(t.roles))}
	l.catalogue, l.known = permission.ByName(perm)
	switch {
	case !l.visit(ref, 0):
		l.steps = append(l.steps, Step{Answer: Nobody})
	case l.steps[len(l.steps)-1].Answer.Granted() && slices.Contains(t.ceiling, perm):
		l.steps = append(l.steps, Step{Answer: Ceiling})
	}
	return l.steps
}

// Grants reports whether a role gives a permission, by its name, and the
// ceiling allows it. For a permission of the catalogue the result agrees with
// Role.Effective.
func (t *Tenant) Grants(role, perm string) bool {
	steps := t.Explain(role, perm)
	return len(steps) > 0 && steps[len(steps)-1].Answer.Granted()
}

// lookup is the state of one look-up.
type lookup struct {
	tenant     *Tenant
	permission string
	catalogue  permission.Permission
	known      bool
	seen       []bool // roles visited, all of them silent: not visited again
	steps      []Step
}

// visit looks the permission up in a role, then in its parents. It returns true
// as soon as one of them is not silent.
func (l *lookup) visit(ref roleRef, depth int) bool {
	if l.seen[ref-1] {
		return false
	}
	l.seen[ref-1] = true
	r := l.tenant.roles[ref-1]
	answer := l.own(r)
	l.steps = append(l.steps, Step{r.name, depth, answer})
	if answer != Silent {
		return true
	}
	for _, p := range r.parents {
		if l.visit(p, depth+1) {
			return true
		}
	}
	return false
}

// own returns the answer of a role's own table.
func (l *lookup) own(r *role) Answer {
	denied, allowed := slices.Contains(r.deny, l.permission), slices.Contains(r.allow, l.permission)
	switch {
	case denied && r.builtin:
		return Removes
	case denied:
		return Denies
	case allowed && r.builtin:
		return Adds
	case allowed:
		return Allows
	case l.known && r.gives.Has(l.catalogue):
		return Gives
	}
	return Silent
}
