package policy

import (
	"bytes"

	"github.com/postern-im/postern/permission"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A pair holds the permissions for reading and for writing the same data.
type pair struct{ read, write permission.Set }

func (p pair) of(t stanza.Type) permission.Set {
	if t == stanza.Set {
		return p.write
	}
	return p.read
}

var (
	messages      = pair{permission.Of(permission.MessagesRead), permission.Of(permission.MessagesWrite)}
	contacts      = pair{permission.Of(permission.ContactsRead), permission.Of(permission.ContactsWrite)}
	bookmarks     = pair{permission.Of(permission.BookmarksRead), permission.Of(permission.BookmarksWrite)}
	profile       = pair{permission.Of(permission.ProfileRead), permission.Of(permission.ProfileWrite)}
	omemo         = pair{permission.Of(permission.OMEMORead), permission.Of(permission.OMEMOWrite)}
	blocklist     = pair{permission.Of(permission.BlocklistRead), permission.Of(permission.BlocklistWrite)}
	history       = pair{permission.Of(permission.HistoryRead), permission.Of(permission.HistoryWrite)}
	pep           = pair{permission.Of(permission.PEPRead), permission.Of(permission.PEPWrite)}
	legacyStorage = pair{permission.Of(permission.LegacyStorageRead), permission.Of(permission.LegacyStorageWrite)}
	account       = pair{permission.Of(permission.AccountRead), permission.Of(permission.AccountWrite)}
	requests      = pair{permission.Of(permission.RequestsRead), permission.Of(permission.RequestsWrite)}
	archive       = pair{history.read | messages.read, history.read | messages.read}

	federate      = permission.Of(permission.Federate)
	discoRead     = permission.Of(permission.DiscoRead)
	presenceWrite = permission.Of(permission.PresenceWrite)
)

// nodePair returns the permissions for the data in a PEP node.
func nodePair(node []byte) pair {
	switch string(node) {
	case "storage:bookmarks", "urn:xmpp:bookmarks:1":
		return bookmarks
	case "urn:xmpp:vcard4", "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata", "http://jabber.org/protocol/nick":
		return profile
	case "eu.siacs.conversations.axolotl.devicelist",
		"urn:xmpp:omemo:1:devices", "urn:xmpp:omemo:1:bundles",
		"urn:xmpp:omemo:2:devices", "urn:xmpp:omemo:2:bundles":
		return omemo
	case "http://jabber.org/protocol/offline":
		return messages
	}
	if n, ok := bytes.CutPrefix(node, []byte("eu.siacs.conversations.axolotl.bundles.")); ok && isNumber(n) {
		return omemo
	}
	return pep
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// storageAsks returns the permissions for private XML storage (XEP-0049). Every
// child counts, because servers that receive several children act on different
// ones.
func storageAsks(d *stanza.Descriptor) permission.Set {
	var asked permission.Set
	for i := range d.Parts {
		asked |= storagePair(d.Parts[i].Space).of(d.Type)
	}
	if len(d.Parts) == 0 {
		asked = legacyStorage.of(d.Type)
	}
	return asked
}

func storagePair(s stanza.Space) pair {
	switch s {
	case stanza.StorageBookmarks:
		return bookmarks
	case stanza.StorageRosterNotes, stanza.RosterDelimiter, stanza.StorageMetaContacts:
		return contacts
	}
	return legacyStorage
}

// pubsubAsks returns the permissions for every node that a pubsub request
// names. An action that names no node asks for pep.
func pubsubAsks(d *stanza.Descriptor) permission.Set {
	var asked permission.Set
	for i := range d.Parts {
		p := &d.Parts[i]
		node := pep
		if p.HasNode {
			node = nodePair(p.Node)
		} else if isModifier(d, p) {
			continue
		}
		asked |= node.of(d.Type)
		switch string(p.Local) {
		case "subscribe", "unsubscribe", "options":
			// A subscription delivers items and changes state.
			asked |= node.read | node.write
		}
	}
	if asked == 0 {
		asked = pep.of(d.Type)
	}
	return asked
}

// namesNodes reports whether every action of a pubsub request names a node and
// no action names the bookmarks node.
func namesNodes(d *stanza.Descriptor) bool {
	named := false
	for i := range d.Parts {
		p := &d.Parts[i]
		switch {
		case p.HasNode && nodePair(p.Node) != bookmarks:
			named = true
		case p.HasNode || !isModifier(d, p):
			return false
		}
	}
	return named
}

// isModifier reports whether p, which has no node, only modifies another action
// in the request (XEP-0060 sections 6.3.7, 7.1.5 and 8.1.3).
func isModifier(d *stanza.Descriptor, p *stanza.Part) bool {
	switch string(p.Local) {
	case "publish-options":
		return true
	case "configure":
		return hasAction(d, p.Space, "create")
	case "options":
		return hasAction(d, p.Space, "subscribe")
	}
	return false
}

func hasAction(d *stanza.Descriptor, space stanza.Space, local string) bool {
	for i := range d.Parts {
		p := &d.Parts[i]
		if !p.Inner && p.Space == space && string(p.Local) == local {
			return true
		}
	}
	return false
}

// eventAsks returns the read permissions of every node that a pubsub event
// names.
func eventAsks(d *stanza.Descriptor) permission.Set {
	var asked permission.Set
	for i := range d.Parts {
		asked |= nodePair(d.Parts[i].Node).read
	}
	if asked == 0 {
		asked = pep.read
	}
	return asked
}
