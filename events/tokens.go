package events

// TokenScope says what the bearer of a token may do.
type TokenScope uint8

// The scopes. The zero one may do least.
const (
	TokenRead     TokenScope = iota // read one tenant
	TokenWrite                      // read and change one tenant
	TokenOperator                   // everything, everywhere
)

var scopeNames = names{TokenRead: "read", TokenWrite: "write", TokenOperator: "operator"}

func (s TokenScope) String() string { return scopeNames.of(uint8(s)) }

// Valid reports whether this version knows the value.
func (s TokenScope) Valid() bool { return scopeNames.valid(uint8(s)) }

// The events of tokens. They are events of the installation.
type (
	// TokenCreated lets whoever bears a token administer over the network. Of
	// the token there is its hash alone.
	TokenCreated struct {
		ID    string
		Name  string // for people
		Scope TokenScope
		// Tenant is the one tenant it is for; empty for an operator's.
		Tenant string
		Hash   [32]byte // SHA-256 of the token
		// Expires is when it ends, in seconds since 1970; 0: never.
		Expires uint64
	}
	// TokenRevoked ends it at once. Its id is never used again.
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
func (TokenRevoked) effects() Effects           { return 0 }
