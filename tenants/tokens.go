package tenants

import (
	"strings"

	"github.com/postern-im/postern/events"
)

// The bounds of tokens.
const (
	MaxTokens    = 10_000 // in the whole installation, revoked ones included
	MaxTokenName = 128    // characters
	TokenIDSize  = 16     // of 0-9 and a-f
)

// CreateToken adds a bearer token of the admin API. The caller has generated the
// token; the command and the log hold only its hash.
type CreateToken struct {
	ID    string
	Label string // a name for people
	Scope events.TokenScope
	// Tenant is the tenant that the token is for; empty for an operator's token.
	Tenant  string
	Hash    [32]byte
	Expires uint64 // seconds since 1970; 0: never
}

// RevokeToken revokes a token. It takes effect at once and cannot be undone.
type RevokeToken struct{ ID string }

// Name is the command's name.
func (CreateToken) Name() string { return "token.create" }

// Name is the command's name.
func (RevokeToken) Name() string { return "token.revoke" }

// tokenCommands are the commands on a token.
func tokenCommands() []Entry {
	return []Entry{
		{Zero: CreateToken{}, Makes: events.TokenCreated{}},
		{Zero: RevokeToken{}, Makes: events.TokenRevoked{}},
	}
}

// isTokenID reports whether a token can have this id.
func isTokenID(id string) bool {
	return len(id) == TokenIDSize && strings.Trim(id, "0123456789abcdef") == ""
}

func (c CreateToken) check(p *checker) {
	if !isTokenID(c.ID) {
		p.fail(Invalid, "id", "%s is no token id: want %d of 0-9 and a-f", quote(c.ID), TokenIDSize)
	}
	p.text("label", "token's name", c.Label, MaxTokenName, isPrintable)
	if c.Hash == [32]byte{} {
		p.fail(Invalid, "hash", "the token's hash is missing")
	}
	switch {
	case !c.Scope.Valid():
		p.fail(Invalid, "scope", "unknown scope")
	case c.Scope == events.TokenOperator && c.Tenant != "":
		p.fail(Invalid, "tenant", "an operator's token is for all tenants: leave the tenant out, or choose the scope read or write")
	case c.Scope != events.TokenOperator && c.Tenant == "":
		p.fail(Invalid, "tenant", "the tenant is missing: only an operator's token is for all tenants")
	case c.Scope != events.TokenOperator && p.view.Tenant([]byte(c.Tenant)) == nil:
		p.fail(NotFound, "tenant", "there is no tenant %s", quote(c.Tenant))
	}
	if len(p.errs) > 0 {
		return
	}
	if p.view.Installation().Token(c.ID) != nil {
		p.fail(Exists, "id", "token %s exists, or did once: make another", quote(c.ID))
		return
	}
	if n := len(p.view.Installation().Tokens()); n >= MaxTokens {
		p.fail(Conflict, "", "there are already %d tokens, the maximum", n)
		return
	}
	p.emit(c.event())
}

func (c CreateToken) event() events.Event {
	return events.TokenCreated{ID: c.ID, Name: c.Label, Scope: c.Scope, Tenant: c.Tenant, Hash: c.Hash, Expires: c.Expires}
}

func (c RevokeToken) check(p *checker) {
	switch t := p.view.Installation().Token(c.ID); {
	case t == nil:
		p.fail(NotFound, "id", "there is no token %s", quote(c.ID))
	case t.Revoked == 0:
		p.emit(events.TokenRevoked(c))
	}
}
