package projections

import "iter"

// Forgotten yields, in no particular order, the accounts that are not members
// but have a record of when their sessions were revoked. Such an account was a
// member once, or its sessions were revoked while it was not a member.
func (t *Tenant) Forgotten() iter.Seq[string] {
	return func(yield func(string) bool) {
		list := t.domainList()
		for i := range list {
			d := &list[i]
			for r := range d.members.all() {
				if r.flags&flagListed == 0 && !yield(string(r.local)+"@"+d.name) {
					return
				}
			}
		}
	}
}
