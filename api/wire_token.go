package api

// This file has the commands and answers for tokens of the admin API. The client
// makes a token and sends only its hash with the command. The node receives the
// token itself only when a client authenticates with it.

type (
	// TokenCreate allows the bearer of a token to use the admin API over the network.
	TokenCreate struct {
		// ID is the token's public part: 16 characters of 0-9 and a-f.
		ID    string `json:"id"`
		Label string `json:"label"` // for people
		Scope string `json:"scope"` // read, write, operator
		// Tenant is the only tenant that the token is valid for. It is absent for an
		// operator's token.
		Tenant string `json:"tenant,omitempty"`
		// Hash is the SHA-256 of the whole token, in hex.
		Hash string `json:"hash"`
		// Expires is when the token expires, in seconds since 1970. Absent or 0 means
		// never.
		Expires uint64 `json:"expires,omitempty"`
	}
	// TokenRevoke revokes a token at once and forever.
	TokenRevoke struct {
		ID string `json:"id"`
	}
)

// Command returns the command's name.
func (TokenCreate) Command() string { return "token.create" }
func (TokenRevoke) Command() string { return "token.revoke" }

// A Token describes one bearer token, without the token's text and hash.
type Token struct {
	ID     string `json:"id"`
	Label  string `json:"label"`
	Scope  string `json:"scope"` // read, write, operator
	Tenant string `json:"tenant,omitempty"`
	// Expires is when the token expires, in seconds since 1970. Absent means never.
	Expires uint64 `json:"expires,omitempty"`
	// Created is the position at which the token was created. Revoked is the position
	// at which it was revoked; it is absent if the token is not revoked.
	Created uint64 `json:"created"`
	Revoked uint64 `json:"revoked,omitempty"`
}

// A TokenList is the list of all tokens, ordered by id. It includes revoked and
// expired tokens.
type TokenList struct {
	Position uint64  `json:"position"`
	Tokens   []Token `json:"tokens"`
}

// A Self has the actor and the rights of the caller.
type Self struct {
	Actor  string `json:"actor"`
	Scope  string `json:"scope"` // operator, tenant write, tenant read
	Tenant string `json:"tenant,omitempty"`
}
