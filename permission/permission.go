// Package permission is the catalogue of permissions: their names, their order,
// their bits, and the permissions that the built-in roles give.
//
// It is pure data. Every list of permissions that Postern prints has the order
// of the catalogue. Names are opaque: a name never stands for several
// permissions by a wildcard or a prefix. A role may contain names that are not
// in the catalogue; no stanza ever asks for such a name.
package permission

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// A Permission is one entry of the catalogue, numbered by its position in it.
type Permission uint8

// The catalogue. In each pair, read comes before write.
const (
	Federate Permission = iota
	MessagesRead
	MessagesWrite
	PresenceWrite
	ContactsRead
	ContactsWrite
	BookmarksRead
	BookmarksWrite
	ProfileRead
	ProfileWrite
	OMEMORead
	OMEMOWrite
	BlocklistRead
	BlocklistWrite
	DiscoRead
	HistoryRead
	HistoryWrite
	PEPRead
	PEPWrite
	LegacyStorageRead
	LegacyStorageWrite
	AccountRead
	AccountWrite
	RequestsRead
	RequestsWrite

	// Count is the number of permissions in the catalogue.
	Count = int(RequestsWrite) + 1
)

// Entry is one line of the catalogue.
type Entry struct {
	Name    string
	Meaning string
	// Source is the origin of the name: "documented" (by Prosody's
	// mod_restrict_xmpp), "module's code" (used in the code of that module but
	// not documented), or "Postern".
	Source string
}

var catalogue = [Count]Entry{
	Federate:           {"xmpp:federate", "communicate with other domains on the XMPP network", "documented"},
	MessagesRead:       {"xmpp:account:messages:read", "receive messages", "documented"},
	MessagesWrite:      {"xmpp:account:messages:write", "send messages", "documented"},
	PresenceWrite:      {"xmpp:account:presence:write", "send presence for the account", "documented"},
	ContactsRead:       {"xmpp:account:contacts:read", "read the contact list, see contacts' presence", "documented"},
	ContactsWrite:      {"xmpp:account:contacts:write", "change the contact list and subscriptions", "documented"},
	BookmarksRead:      {"xmpp:account:bookmarks:read", "read the group chats list", "documented"},
	BookmarksWrite:     {"xmpp:account:bookmarks:write", "change the group chats list", "documented"},
	ProfileRead:        {"xmpp:account:profile:read", "read vCard, avatar and nickname", "documented"},
	ProfileWrite:       {"xmpp:account:profile:write", "change vCard, avatar and nickname", "documented"},
	OMEMORead:          {"xmpp:account:omemo:read", "read OMEMO devices and bundles", "documented"},
	OMEMOWrite:         {"xmpp:account:omemo:write", "change OMEMO devices and bundles", "documented"},
	BlocklistRead:      {"xmpp:account:blocklist:read", "read the block list", "documented"},
	BlocklistWrite:     {"xmpp:account:blocklist:write", "change the block list", "documented"},
	DiscoRead:          {"xmpp:account:disco:read", "service discovery of the account", "documented"},
	HistoryRead:        {"xmpp:account:history:read", "read the message archive", "module's code"},
	HistoryWrite:       {"xmpp:account:history:write", "change the archive's preferences", "module's code"},
	PEPRead:            {"xmpp:account:pep:read", "read any other PEP node of the account", "module's code"},
	PEPWrite:           {"xmpp:account:pep:write", "write any other PEP node of the account", "module's code"},
	LegacyStorageRead:  {"xmpp:account:legacy-storage:read", "read any other private XML storage", "module's code"},
	LegacyStorageWrite: {"xmpp:account:legacy-storage:write", "write any other private XML storage", "module's code"},
	AccountRead:        {"xmpp:account:read", "anything else asked of the own account", "module's code"},
	AccountWrite:       {"xmpp:account:write", "anything else changed in the own account; account management (password, removal, push, ad-hoc)", "module's code"},
	RequestsRead:       {"xmpp:requests:read", "iq get to other users and to services (rooms, upload, pubsub, components)", "Postern"},
	RequestsWrite:      {"xmpp:requests:write", "iq set to other users and to services (rooms, upload, pubsub, components)", "Postern"},
}

// Name returns the permission's name, such as "xmpp:account:messages:read".
func (p Permission) Name() string { return catalogue[p].Name }

// Entry returns the permission's entry in the catalogue.
func (p Permission) Entry() Entry { return catalogue[p] }

// String is Name.
func (p Permission) String() string { return p.Name() }

// ByName returns the permission with this name in the catalogue.
func ByName(name string) (Permission, bool) {
	for i := range catalogue {
		if catalogue[i].Name == name {
			return Permission(i), true
		}
	}
	return 0, false
}

// All yields the catalogue in order.
func All() iter.Seq[Permission] {
	return func(yield func(Permission) bool) {
		for i := range Count {
			if !yield(Permission(i)) {
				return
			}
		}
	}
}

// A Set is a set of permissions of the catalogue, one bit each.
type Set uint64

// Of returns the set of the given permissions.
func Of(ps ...Permission) Set {
	var s Set
	for _, p := range ps {
		s |= 1 << p
	}
	return s
}

// Everything is the set of all permissions of the catalogue.
const Everything = Set(1)<<Count - 1

// Has reports whether p is in the set.
func (s Set) Has(p Permission) bool { return s&(1<<p) != 0 }

// With returns the set with p added.
func (s Set) With(p Permission) Set { return s | 1<<p }

// Minus returns the permissions of s that are not in t.
func (s Set) Minus(t Set) Set { return s &^ t }

// First returns the first permission of the set in the catalogue's order.
func (s Set) First() (Permission, bool) {
	if s == 0 {
		return 0, false
	}
	return Permission(bits.TrailingZeros64(uint64(s))), true
}

// Names returns the names in the order of the catalogue. It is never nil.
func (s Set) Names() []string {
	names := make([]string, 0, bits.OnesCount64(uint64(s)))
	for p := range All() {
		if s.Has(p) {
			names = append(names, p.Name())
		}
	}
	return names
}

// String returns the names joined by spaces.
func (s Set) String() string { return strings.Join(s.Names(), " ") }

// maxNameBytes bounds a permission's name, so that a role's record stays small.
const maxNameBytes = 128

// CheckName returns an error for a name outside the grammar
// [a-z0-9-]+(:[a-z0-9-]+)+. The name need not be in the catalogue.
func CheckName(name string) error {
	if len(name) > maxNameBytes {
		return fmt.Errorf("permission name of %d bytes: at most %d", len(name), maxNameBytes)
	}
	parts := strings.Split(name, ":")
	if len(parts) < 2 {
		return fmt.Errorf("permission %q: want at least two parts joined by ':', such as %q", name, Federate.Name())
	}
	for _, part := range parts {
		if part == "" {
			return fmt.Errorf("permission %q: empty part", name)
		}
		for i := range len(part) {
			c := part[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("permission %q: only a-z, 0-9, '-' and ':' (there are no wildcards)", name)
			}
		}
	}
	return nil
}

// Misspelt reports whether a name has the reserved prefix "xmpp:" and is not in
// the catalogue. Callers refuse such a name or warn of it, because a misspelt
// name in a deny or a ceiling would fail open: it would forbid nothing.
func Misspelt(name string) bool {
	_, known := ByName(name)
	return !known && strings.HasPrefix(name, "xmpp:")
}
