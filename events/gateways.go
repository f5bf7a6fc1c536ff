package events

// The events of gateways. They are events of the installation.
type (
	// GatewayAdded registers a gateway: it may connect to the policy nodes' NATS
	// servers with the key, and ask in the name of the id.
	GatewayAdded struct {
		ID string
		// PublicKey is the public part of the gateway's nkey, U and 55 more
		// characters. The gateway alone has the secret part.
		PublicKey string
	}
	// GatewayRemoved ends the registration of a gateway at once. Its key is never
	// accepted again. The id may be added again with another key.
	GatewayRemoved struct{ ID string }
)

func (e *GatewayAdded) wire(c *codec) {
	c.name(1, &e.ID)
	c.name(2, &e.PublicKey)
}
func (e GatewayAdded) encode(out []byte) []byte { return encodeBody(out, 29, &e) }
func (e GatewayAdded) describe() string {
	return line("gateway added", plain(e.ID), "key", plain(e.PublicKey))
}
func (e GatewayAdded) subject() Subject { return Subject{KindGateway, e.ID} }
func (GatewayAdded) effects() Effects   { return 0 }

func (e *GatewayRemoved) wire(c *codec)           { c.name(1, &e.ID) }
func (e GatewayRemoved) encode(out []byte) []byte { return encodeBody(out, 30, &e) }
func (e GatewayRemoved) describe() string         { return line("gateway removed", plain(e.ID)) }
func (e GatewayRemoved) subject() Subject         { return Subject{KindGateway, e.ID} }
func (GatewayRemoved) effects() Effects           { return Withdraws }
