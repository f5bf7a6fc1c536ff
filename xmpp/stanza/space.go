package stanza

import "bytes"

// A Space is a number for a namespace that the rules know. The numbers are part
// of the wire format of questions and of audit records: append new ones, never
// reorder.
type Space uint8

// The namespaces that the rules refer to. OtherSpace is any other namespace;
// the Part then holds its text.
const (
	OtherSpace Space = iota
	NoSpace          // xmlns=''
	Client           // jabber:client
	Roster
	VCardTemp
	VCard4
	Private
	StorageBookmarks
	StorageRosterNotes
	RosterDelimiter
	StorageMetaContacts
	MAM      // urn:xmpp:mam:0, :1, :2
	MAMOther // any other urn:xmpp:mam:…
	Offline
	CarbonsOld // urn:xmpp:carbons:0, :1
	Carbons    // urn:xmpp:carbons:2
	Blocking
	Privacy
	DiscoInfo
	DiscoItems
	PubSub
	PubSubOwner
	PubSubEvent
	Push
	Register
	IQAuth
	Commands
	ClientAccess  // urn:xmpp:cam:0
	ManageClients // xmpp:prosody.im/protocol/manage-clients
	Ping
	Session
	Upload // urn:xmpp:http:upload…
	Version
	Time
	MUC
	MUCUser
	MUCAdmin
	MUCOwner
	Conference // jabber:x:conference
	Address    // http://jabber.org/protocol/address
	Delay
	StanzaID // urn:xmpp:sid:0
	Hints
	SHIM
	ClientState // urn:xmpp:csi:0
	OMEMOOld    // eu.siacs.conversations.axolotl
	OMEMO1
	OMEMO2
	PGPOld   // jabber:x:encrypted
	PGP      // urn:xmpp:openpgp:0
	EME      // urn:xmpp:eme:0
	StreamNS // http://etherx.jabber.org/streams
	MUCSub   // urn:xmpp:mucsub:0
	MIXPAM   // urn:xmpp:mix:pam:…
	numSpaces
)

// The rules keep a set of Spaces in 64 bits. A 65th Space would match no row, so
// all requests in it would be refused. This constant makes it a compile error.
const _ = uint(64 - numSpaces)

const (
	nsClient   = "jabber:client"
	mamPrefix  = "urn:xmpp:mam:"
	pamPrefix  = "urn:xmpp:mix:pam:"
	uploadName = "urn:xmpp:http:upload"
)

// spaceNames holds the name of each Space that has exactly one.
var spaceNames = [numSpaces]string{
	Client:              nsClient,
	Roster:              "jabber:iq:roster",
	VCardTemp:           "vcard-temp",
	VCard4:              "urn:ietf:params:xml:ns:vcard-4.0",
	Private:             "jabber:iq:private",
	StorageBookmarks:    "storage:bookmarks",
	StorageRosterNotes:  "storage:rosternotes",
	RosterDelimiter:     "roster:delimiter",
	StorageMetaContacts: "storage:metacontacts",
	Offline:             "http://jabber.org/protocol/offline",
	Carbons:             "urn:xmpp:carbons:2",
	Blocking:            "urn:xmpp:blocking",
	Privacy:             "jabber:iq:privacy",
	DiscoInfo:           "http://jabber.org/protocol/disco#info",
	DiscoItems:          "http://jabber.org/protocol/disco#items",
	PubSub:              "http://jabber.org/protocol/pubsub",
	PubSubOwner:         "http://jabber.org/protocol/pubsub#owner",
	PubSubEvent:         "http://jabber.org/protocol/pubsub#event",
	Push:                "urn:xmpp:push:0",
	Register:            "jabber:iq:register",
	IQAuth:              "jabber:iq:auth",
	Commands:            "http://jabber.org/protocol/commands",
	ClientAccess:        "urn:xmpp:cam:0",
	ManageClients:       "xmpp:prosody.im/protocol/manage-clients",
	Ping:                "urn:xmpp:ping",
	Session:             "urn:ietf:params:xml:ns:xmpp-session",
	Version:             "jabber:iq:version",
	Time:                "urn:xmpp:time",
	MUC:                 "http://jabber.org/protocol/muc",
	MUCUser:             "http://jabber.org/protocol/muc#user",
	MUCAdmin:            "http://jabber.org/protocol/muc#admin",
	MUCOwner:            "http://jabber.org/protocol/muc#owner",
	Conference:          "jabber:x:conference",
	Address:             "http://jabber.org/protocol/address",
	Delay:               "urn:xmpp:delay",
	StanzaID:            "urn:xmpp:sid:0",
	Hints:               "urn:xmpp:hints",
	SHIM:                "http://jabber.org/protocol/shim",
	ClientState:         "urn:xmpp:csi:0",
	OMEMOOld:            "eu.siacs.conversations.axolotl",
	OMEMO1:              "urn:xmpp:omemo:1",
	OMEMO2:              "urn:xmpp:omemo:2",
	PGPOld:              "jabber:x:encrypted",
	PGP:                 "urn:xmpp:openpgp:0",
	EME:                 "urn:xmpp:eme:0",
	StreamNS:            "http://etherx.jabber.org/streams",
	MUCSub:              "urn:xmpp:mucsub:0",
}

// Text returns the name of the namespace, or "" if the number covers several
// namespaces.
func (s Space) Text() string {
	if s >= numSpaces {
		return ""
	}
	return spaceNames[s]
}

// Known reports whether this version defines the number.
func (s Space) Known() bool { return s < numSpaces }

// HasText reports whether a Part of this Space also carries the text of the
// namespace, because the number covers several namespaces.
func (s Space) HasText() bool {
	switch s {
	case OtherSpace, MAM, MAMOther, CarbonsOld, Upload, MIXPAM:
		return true
	}
	return false
}

// SpaceOf returns the number for a namespace name. Names are compared byte for
// byte.
func SpaceOf(name []byte) Space {
	switch string(name) {
	case "":
		return NoSpace
	case nsClient:
		return Client
	case "jabber:iq:roster":
		return Roster
	case "vcard-temp":
		return VCardTemp
	case "urn:ietf:params:xml:ns:vcard-4.0":
		return VCard4
	case "jabber:iq:private":
		return Private
	case "storage:bookmarks":
		return StorageBookmarks
	case "storage:rosternotes":
		return StorageRosterNotes
	case "roster:delimiter":
		return RosterDelimiter
	case "storage:metacontacts":
		return StorageMetaContacts
	case "urn:xmpp:mam:0", "urn:xmpp:mam:1", "urn:xmpp:mam:2":
		return MAM
	case "http://jabber.org/protocol/offline":
		return Offline
	case "urn:xmpp:carbons:0", "urn:xmpp:carbons:1":
		return CarbonsOld
	case "urn:xmpp:carbons:2":
		return Carbons
	case "urn:xmpp:blocking":
		return Blocking
	case "jabber:iq:privacy":
		return Privacy
	case "http://jabber.org/protocol/disco#info":
		return DiscoInfo
	case "http://jabber.org/protocol/disco#items":
		return DiscoItems
	case "http://jabber.org/protocol/pubsub":
		return PubSub
	case "http://jabber.org/protocol/pubsub#owner":
		return PubSubOwner
	case "http://jabber.org/protocol/pubsub#event":
		return PubSubEvent
	case "urn:xmpp:push:0":
		return Push
	case "jabber:iq:register":
		return Register
	case "jabber:iq:auth":
		return IQAuth
	case "http://jabber.org/protocol/commands":
		return Commands
	case "urn:xmpp:cam:0":
		return ClientAccess
	case "xmpp:prosody.im/protocol/manage-clients":
		return ManageClients
	case "urn:xmpp:ping":
		return Ping
	case "urn:ietf:params:xml:ns:xmpp-session":
		return Session
	case "jabber:iq:version":
		return Version
	case "urn:xmpp:time":
		return Time
	case "http://jabber.org/protocol/muc":
		return MUC
	case "http://jabber.org/protocol/muc#user":
		return MUCUser
	case "http://jabber.org/protocol/muc#admin":
		return MUCAdmin
	case "http://jabber.org/protocol/muc#owner":
		return MUCOwner
	case "jabber:x:conference":
		return Conference
	case "http://jabber.org/protocol/address":
		return Address
	case "urn:xmpp:delay":
		return Delay
	case "urn:xmpp:sid:0":
		return StanzaID
	case "urn:xmpp:hints":
		return Hints
	case "http://jabber.org/protocol/shim":
		return SHIM
	case "urn:xmpp:csi:0":
		return ClientState
	case "eu.siacs.conversations.axolotl":
		return OMEMOOld
	case "urn:xmpp:omemo:1":
		return OMEMO1
	case "urn:xmpp:omemo:2":
		return OMEMO2
	case "jabber:x:encrypted":
		return PGPOld
	case "urn:xmpp:openpgp:0":
		return PGP
	case "urn:xmpp:eme:0":
		return EME
	case "http://etherx.jabber.org/streams":
		return StreamNS
	case "urn:xmpp:mucsub:0":
		return MUCSub
	}
	if bytes.HasPrefix(name, []byte(pamPrefix)) {
		return MIXPAM
	}
	if bytes.HasPrefix(name, []byte(mamPrefix)) {
		return MAMOther
	}
	if bytes.HasPrefix(name, []byte(uploadName)) {
		return Upload
	}
	return OtherSpace
}
