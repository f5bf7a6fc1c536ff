package projections

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postern-im/postern/events"
)

// A Token is one bearer token of the admin API. Once in a View it never
// changes.
type Token struct {
	ID, Name string
	Scope    events.TokenScope
	Tenant   string // empty for an operator's token
	Hash     [32]byte
	Expires  uint64 // seconds since 1970; 0: never
	Created  events.Position
	Revoked  events.Position // 0: not revoked
}

// Tokens lists all tokens by id, revoked ones too. The caller must change
// neither the list nor the tokens.
func (n *Installation) Tokens() []*Token { return n.tokens }

// Token returns a token by its id, revoked or not, or nil if there is none.
func (n *Installation) Token(id string) *Token {
	i, found := findToken(n.tokens, id)
	if !found {
		return nil
	}
	return n.tokens[i]
}

func findToken(list []*Token, id string) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(t *Token, id string) int { return strings.Compare(t.ID, id) })
}

// foldToken folds an event about a token.
func (n *Installation) foldToken(p events.Position, e events.Event) error {
	switch e := e.(type) {
	case events.TokenCreated:
		i, found := findToken(n.tokens, e.ID)
		switch {
		case found:
			return fmt.Errorf("token %q is not new", e.ID)
		case (e.Scope == events.TokenOperator) != (e.Tenant == ""):
			return fmt.Errorf("a token of scope %s for tenant %q", e.Scope, e.Tenant)
		}
		// Clip makes Insert allocate a new list. Otherwise it could shift
		// elements of a list that an older View shares.
		n.tokens = slices.Insert(slices.Clip(n.tokens), i, &Token{
			ID: strings.Clone(e.ID), Name: strings.Clone(e.Name), Scope: e.Scope, Tenant: strings.Clone(e.Tenant), Hash: e.Hash, Expires: e.Expires, Created: p,
		})
		return nil
	case events.TokenRevoked:
		i, found := findToken(n.tokens, e.ID)
		if !found || n.tokens[i].Revoked != 0 {
			return fmt.Errorf("token %q does not exist or is already revoked", e.ID)
		}
		revoked := *n.tokens[i]
		revoked.Revoked = p
		n.tokens = slices.Clone(n.tokens)
		n.tokens[i] = &revoked
		return nil
	}
	return errUnknown
}

// tokens writes the list of tokens.
func (e *encoder) tokens(list []*Token) {
	e.number(uint64(len(list)))
	for _, t := range list {
		e.text(t.ID)
		e.text(t.Name)
		e.number(uint64(t.Scope))
		e.text(t.Tenant)
		e.w.Write(t.Hash[:])
		e.number(t.Expires)
		e.number(uint64(t.Created))
		e.number(uint64(t.Revoked))
	}
}

// tokens reads the list of tokens.
func (d *decoder) tokens(n *Installation) {
	last := ""
	d.each(uint64(events.MaxSize)*n.version, func() {
		t := &Token{ID: d.text(), Name: d.text(), Scope: enum[events.TokenScope](d)}
		t.Tenant = d.text()
		d.read(t.Hash[:])
		t.Expires = d.number(1<<64 - 1)
		t.Created, t.Revoked = d.position(1), d.position(0)
		if d.err == nil && (t.ID <= last || (t.Scope == events.TokenOperator) != (t.Tenant == "") || t.Revoked != 0 && t.Revoked < t.Created) {
			d.fail("token %q is out of order or contradicts itself", t.ID)
		}
		last = t.ID
		n.tokens = append(n.tokens, t)
	})
}
