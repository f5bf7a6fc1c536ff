package tenants

import (
	"encoding/base32"
	"encoding/binary"
	"strings"

	"github.com/postern-im/postern/events"
)

// The bounds of gateways.
const (
	// MaxGateways bounds the gateways that are registered at a time. A node holds a
	// NATS connection and a user for each, and asks each of them about sessions.
	MaxGateways = 1024
	// MaxRegistrations bounds all registrations, removed ones included: a View keeps
	// them for ever, so that a removed key is never accepted again.
	MaxRegistrations = 16_384
	// MaxGatewayID bounds an id, which is part of NATS subjects.
	MaxGatewayID = 32
)

type (
	// AddGateway registers a gateway with the public part of its nkey. The secret
	// part stays with the gateway.
	AddGateway struct {
		ID        string
		PublicKey string
	}
	// RemoveGateway ends the registration of a gateway. The policy nodes cut it off
	// at once.
	RemoveGateway struct{ ID string }
)

// Name is the command's name.
func (AddGateway) Name() string { return "gateway.add" }

// Name is the command's name.
func (RemoveGateway) Name() string { return "gateway.remove" }

// gatewayCommands are the commands on a gateway.
func gatewayCommands() []Entry {
	return []Entry{
		{Zero: AddGateway{}, Makes: events.GatewayAdded{}},
		{Zero: RemoveGateway{}, Makes: events.GatewayRemoved{}},
	}
}

func (c AddGateway) check(p *checker) {
	if !isGatewayID(c.ID) {
		p.fail(Invalid, "id", "%s is no gateway id: want 1 to %d of a-z and 0-9", quote(c.ID), MaxGatewayID)
	}
	switch {
	case strings.HasPrefix(c.PublicKey, "SU"):
		// The text must not repeat the secret.
		p.fail(Invalid, "public_key", "this is a seed, which is secret: give the public key, which begins with U, and make another seed")
	case !isUserKey(c.PublicKey):
		p.fail(Invalid, "public_key", "%s is no public nkey of a user: want U and 55 more characters", quote(c.PublicKey))
	}
	if len(p.errs) > 0 {
		return
	}
	n := p.view.Installation()
	known, holder := n.Gateway(c.ID), n.GatewayWithKey(c.PublicKey)
	switch {
	case known != nil && known.Removed == 0 && known == holder:
		p.fail(Exists, "id", "gateway %s is already registered with this key", quote(c.ID))
	case known != nil && known.Removed == 0:
		p.fail(Exists, "id", "gateway %s is already registered, with another key: remove it first, which cuts it off", quote(c.ID))
	case holder != nil && holder.Removed == 0:
		p.fail(Conflict, "public_key", "the key belongs to gateway %s: each gateway needs its own", quote(holder.ID))
	case holder != nil:
		p.fail(Conflict, "public_key", "the key was removed with gateway %s at position %d: a removed key is never accepted again; make a new one", quote(holder.ID), holder.Removed)
	case p.gatewayCount() >= MaxGateways:
		p.fail(Conflict, "", "there are already %d gateways, the maximum", MaxGateways)
	case len(n.Gateways()) >= MaxRegistrations:
		p.fail(Conflict, "", "gateways were added %d times, the maximum, removed ones included", MaxRegistrations)
	default:
		p.emit(events.GatewayAdded(c))
	}
}

func (c RemoveGateway) check(p *checker) {
	switch g := p.view.Installation().Gateway(c.ID); {
	case g == nil:
		p.fail(NotFound, "id", "there is no gateway %s", quote(c.ID))
	case g.Removed == 0:
		p.emit(events.GatewayRemoved(c))
		if p.gatewayCount() == 1 {
			p.warn("id", "this was the last gateway: no client can connect until another is added")
		}
	}
}

// gatewayCount returns the number of gateways that are registered.
func (p *checker) gatewayCount() (n int) {
	for _, g := range p.view.Installation().Gateways() {
		if g.Removed == 0 {
			n++
		}
	}
	return n
}

// isGatewayID reports whether a gateway can have this id. Package decision has the
// same rule for the ids in questions.
func isGatewayID(id string) bool {
	return id != "" && len(id) <= MaxGatewayID && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// The form of an nkey before it is written in base32: a byte for its kind, 32 bytes
// of a public key, and a checksum of both.
const (
	userKind   = 20 << 3 // makes the text begin with U
	keyLength  = 1 + 32
	textLength = (keyLength + 2) * 8 / 5
)

// isUserKey reports whether s is the public part of a user's nkey. A NATS server
// refuses to start with any other text.
func isUserKey(s string) bool {
	if len(s) != textLength {
		return false
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s)
	return err == nil && len(b) == keyLength+2 && b[0] == userKind &&
		crc16(b[:keyLength]) == binary.LittleEndian.Uint16(b[keyLength:])
}

// crc16 is the checksum of nkeys: CRC-16/XMODEM.
func crc16(b []byte) (crc uint16) {
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
