package policy

import (
	"bytes"

	"github.com/postern-im/postern/decision"
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
func nodePair(node decision.NodeClass) pair {
	switch node {
	case decision.BookmarksNode:
		return bookmarks
	case decision.ProfileNode:
		return profile
	case decision.OMEMONode:
		return omemo
	case decision.MessagesNode:
		return messages
	}
	return pep
}

// nodeClass returns the class of a node.
func nodeClass(node []byte) decision.NodeClass {
	switch string(node) {
	case "storage:bookmarks", "urn:xmpp:bookmarks:1":
		return decision.BookmarksNode
	case "urn:xmpp:vcard4", "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata", "http://jabber.org/protocol/nick":
		return decision.ProfileNode
	case "eu.siacs.conversations.axolotl.devicelist",
		"urn:xmpp:omemo:1:devices", "urn:xmpp:omemo:1:bundles",
		"urn:xmpp:omemo:2:devices", "urn:xmpp:omemo:2:bundles":
		return decision.OMEMONode
	case "http://jabber.org/protocol/offline":
		return decision.MessagesNode
	}
	if n, ok := bytes.CutPrefix(node, []byte("eu.siacs.conversations.axolotl.bundles.")); ok && isNumber(n) {
		return decision.OMEMONode
	}
	if bytes.IndexByte(node, '#') >= 0 {
		return decision.CapsNode
	}
	return decision.PEPNode
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
func storageAsks(f *decision.Facts) permission.Set {
	var asked permission.Set
	for i := range f.NumParts {
		asked |= storagePair(f.Parts[i].Space).of(f.Type)
	}
	if f.NumParts == 0 {
		asked = legacyStorage.of(f.Type)
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
func pubsubAsks(f *decision.Facts) permission.Set {
	var asked permission.Set
	for i := range f.NumParts {
		p := &f.Parts[i]
		node := pep
		if p.Node != decision.NoNode {
			node = nodePair(p.Node)
		} else if isModifier(f, p) {
			continue
		}
		asked |= node.of(f.Type)
		switch p.Name {
		case decision.SubscribeName, decision.UnsubscribeName, decision.OptionsName:
			// A subscription delivers items and changes state.
			asked |= node.read | node.write
		}
	}
	if asked == 0 {
		asked = pep.of(f.Type)
	}
	return asked
}

// namesNodes reports whether every action of a pubsub request names a node and
// no action names the bookmarks node.
func namesNodes(f *decision.Facts) bool {
	named := false
	for i := range f.NumParts {
		p := &f.Parts[i]
		switch {
		case p.Node != decision.NoNode && p.Node != decision.BookmarksNode:
			named = true
		case p.Node != decision.NoNode || !isModifier(f, p):
			return false
		}
	}
	return named
}

// isModifier reports whether p, which has no node, only modifies another action
// in the request (XEP-0060 sections 6.3.7, 7.1.5 and 8.1.3).
func isModifier(f *decision.Facts, p *decision.FactPart) bool {
	switch p.Name {
	case decision.PublishOptionsName:
		return true
	case decision.ConfigureName:
		return hasAction(f, p.Space, decision.CreateName)
	case decision.OptionsName:
		return hasAction(f, p.Space, decision.SubscribeName)
	}
	return false
}

func hasAction(f *decision.Facts, space stanza.Space, name decision.FactName) bool {
	for i := range f.NumParts {
		p := &f.Parts[i]
		if !p.Inner && p.Space == space && p.Name == name {
			return true
		}
	}
	return false
}

// eventAsks returns the read permissions of every node that a pubsub event
// names.
func eventAsks(f *decision.Facts) permission.Set {
	var asked permission.Set
	for i := range f.NumParts {
		asked |= nodePair(f.Parts[i].Node).read
	}
	if asked == 0 {
		asked = pep.read
	}
	return asked
}
