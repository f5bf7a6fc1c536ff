package projections

import "iter"

// Forgotten yields, in no order, the accounts without an entry of which the
// tenant keeps when their sessions were revoked: they were members once, or had
// their sessions revoked.
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
