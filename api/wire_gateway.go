package api

import "time"

// This file has the commands and answers for the registry of gateways. The gateway's
// nkey is made by the client; only its public part is sent.

type (
	// GatewayAdd registers a gateway: it may connect to the policy nodes with the key,
	// and ask in the name of the id.
	GatewayAdd struct {
		// ID is 1 to 32 characters of a-z and 0-9.
		ID string `json:"id"`
		// PublicKey is the public part of the gateway's nkey: U and 55 more characters. A
		// key that was registered once is never accepted again.
		PublicKey string `json:"public_key"`
	}
	// GatewayRemove ends the registration of a gateway and cuts it off at once. Its id
	// can be added again with another key.
	GatewayRemove struct {
		ID string `json:"id"`
	}
)

// Command returns the command's name.
func (GatewayAdd) Command() string    { return "gateway.add" }
func (GatewayRemove) Command() string { return "gateway.remove" }

// A Gateway is a gateway that is registered, was registered, or announces itself.
type Gateway struct {
	ID string `json:"id"`
	// PublicKey is absent if the gateway is not in the registry, and a NATS server that
	// policyd does not run has its key.
	PublicKey string `json:"public_key,omitempty"`
	// Added is the position at which the gateway was added, and Since is the time. Removed
	// is the position at which it was removed; it is absent if the gateway is registered.
	Added   uint64    `json:"added,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Removed uint64    `json:"removed,omitempty"`
	// Connected: the gateway announces itself to this node at present.
	Connected bool `json:"connected"`
	// Heard is when the gateway last announced itself to this node. It is absent if it
	// has not done so since the node was started.
	Heard time.Time `json:"heard,omitzero"`
	// Twice: two gateways use the id at present.
	Twice bool `json:"twice,omitempty"`
}

// A GatewayList is the list of gateways, ordered by id.
type GatewayList struct {
	Position uint64    `json:"position"`
	Gateways []Gateway `json:"gateways"`
}
