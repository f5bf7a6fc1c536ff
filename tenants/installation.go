package tenants

import "slices"

// installationCommands are the commands on what belongs to the installation as
// a whole. They are for operators only, and belong to no tenant.
func installationCommands() []Entry {
	list := slices.Concat(tokenCommands(), sharedServiceCommands())
	for i := range list {
		list[i].Operator, list[i].Installation = true, true
	}
	return list
}
