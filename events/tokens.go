package events

// TokenScope says which requests a token allows.
type TokenScope uint8

// The scopes. The zero scope allows the least.
const (
	TokenRead     TokenScope = iota // read one tenant
	TokenWrite                      // read and change one tenant
	TokenOperator                   // everything, for all tenants
)

var scopeNames = names{TokenRead: "read", TokenWrite: "write", TokenOperator: "operator"}

func (s TokenScope) String() string { return scopeNames.of(uint8(s)) }

// Valid reports whether this version knows the value.
func (s TokenScope) Valid() bool { return scopeNames.valid(uint8(s)) }

// The events of tokens. They are events of the installation.
type (
	// TokenCreated allows the bearer of a token to use the admin API over the
	// network. The event has only the token's hash, not the token.
	TokenCreated struct {
		ID    string
		Name  string // for people
		Scope TokenScope
		// Tenant is the only tenant that the token is valid for. It is empty for an
		// operator's token.
		Tenant string
		Hash   [32]byte // SHA-256 of the token
		// Expires is when the token expires, in seconds since 1970. Zero means
		// never.
		Expires uint64
	}
	// TokenRevoked revokes a token at once. Its id is never used again.
	TokenRevoked struct{ ID string }
)

func (e *TokenCreated) wire(c *codec) {
	c.name(1, &e.ID)
	c.name(2, &e.Name)
	enum(c, 3, &e.Scope)
	c.text(4, &e.Tenant)
	c.hash(5, &e.Hash)
	c.count(6, &e.Expires)
}
func (e TokenCreated) encode(out []byte) []byte { return encodeBody(out, 24, &e) }
func (e TokenCreated) describe() string {
	tenant := ""
	if e.Tenant != "" {
		tenant = "tenant " + plain(e.Tenant)
	}
	expires := "never expires"
	if e.Expires != 0 {
		expires = "expires " + unixTime(e.Expires)
	}
	return line("token created", plain(e.ID), quoted(e.Name), "scope", e.Scope.String(), tenant, expires)
}
func (e TokenCreated) subject() Subject { return Subject{KindToken, e.ID} }
func (TokenCreated) effects() Effects   { return 0 }

func (e *TokenRevoked) wire(c *codec)           { c.name(1, &e.ID) }
func (e TokenRevoked) encode(out []byte) []byte { return encodeBody(out, 25, &e) }
func (e TokenRevoked) describe() string         { return line("token revoked", plain(e.ID)) }
func (e TokenRevoked) subject() Subject         { return Subject{KindToken, e.ID} }
func (TokenRevoked) effects() Effects           { return Withdraws }
