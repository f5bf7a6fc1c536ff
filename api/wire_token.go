package api

// What concerns the tokens of the admin API. The text of a token never comes
// to the node but to be let in by: whoever makes one tells its hash.

type (
	// TokenCreate lets whoever bears a token administer over the network.
	TokenCreate struct {
		// ID is the token's public part: 16 of 0-9 and a-f.
		ID    string `json:"id"`
		Label string `json:"label"` // for people
		Scope string `json:"scope"` // read, write, operator
		// Tenant is the one tenant it is for; absent for an operator's.
		Tenant string `json:"tenant,omitempty"`
		// Hash is the SHA-256 of the whole token, in hex.
		Hash string `json:"hash"`
		// Expires is when it ends, in seconds since 1970; absent or 0: never.
		Expires uint64 `json:"expires,omitempty"`
	}
	// TokenRevoke ends a token at once, for good.
	TokenRevoke struct {
		ID string `json:"id"`
	}
)

// Command is the command's name.
func (TokenCreate) Command() string { return "token.create" }
func (TokenRevoke) Command() string { return "token.revoke" }

// A Token is one bearer token, without what it is borne by.
type Token struct {
	ID     string `json:"id"`
	Label  string `json:"label"`
	Scope  string `json:"scope"` // read, write, operator
	Tenant string `json:"tenant,omitempty"`
	// Expires is when it ends, in seconds since 1970; absent: never.
	Expires uint64 `json:"expires,omitempty"`
	// Created and Revoked are the positions at which it was; Revoked is
	// absent while it is not.
	Created uint64 `json:"created"`
	Revoked uint64 `json:"revoked,omitempty"`
}

// A TokenList is all tokens, by id, those that are over included.
type TokenList struct {
	Position uint64  `json:"position"`
	Tokens   []Token `json:"tokens"`
}

// A Self is who a caller is to the node.
type Self struct {
	Actor  string `json:"actor"`
	Scope  string `json:"scope"` // operator, tenant write, tenant read
	Tenant string `json:"tenant,omitempty"`
}
