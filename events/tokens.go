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

func describeToken(e Event) string {
	switch e := e.(type) {
	case TokenCreated:
		tenant := ""
		if e.Tenant != "" {
			tenant = "tenant " + plain(e.Tenant)
		}
		expires := "never expires"
		if e.Expires != 0 {
			expires = "expires " + unixTime(e.Expires)
		}
		return line("token created", plain(e.ID), quoted(e.Name), "scope", e.Scope.String(), tenant, expires)
	case TokenRevoked:
		return line("token revoked", plain(e.ID))
	}
	return ""
}

func (e *TokenCreated) wire(c *codec) {
	c.name(1, &e.ID)
	c.name(2, &e.Name)
	enum(c, 3, &e.Scope)
	c.text(4, &e.Tenant)
	c.hash(5, &e.Hash)
	c.count(6, &e.Expires)
}

func (e *TokenRevoked) wire(c *codec) {
	c.name(1, &e.ID)
}
