package tenants

import "slices"

// installationCommands are the commands about the installation as a whole. They
// are about no tenant, and for operators only.
func installationCommands() []Entry {
	list := slices.Concat(tokenCommands(), sharedServiceCommands(), gatewayCommands())
	for i := range list {
		list[i].Operator, list[i].Installation = true, true
	}
	return list
}
