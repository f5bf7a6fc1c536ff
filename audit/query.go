package audit

import (
	"bytes"
	"time"

	"github.com/postern-im/postern/decision"
)

// A Ref names a record in the log of one node.
type Ref struct {
	Leaf  uint64
	Index int
}

// Before reports whether r is older than o.
func (r Ref) Before(o Ref) bool {
	return r.Leaf < o.Leaf || r.Leaf == o.Leaf && r.Index < o.Index
}

// A Query selects records. Each field that is set must match. The zero Query selects
// all records.
type Query struct {
	// Tenant selects the records of one tenant.
	Tenant string
	// Account is the bare JID of the session's account.
	Account string
	// Peer is the other entity of a stanza: a bare JID, or a domain, which selects
	// every peer in it.
	Peer string
	// Session is the id of a session.
	Session string
	// Permission is the first missing permission of a verdict.
	Permission string
	// Effects are the effects of a verdict. Empty means any, and records without a
	// verdict.
	Effects []decision.Effect
	// Kinds are the kinds of records. Empty means any.
	Kinds []Kind
	// Since and Until bound the time, Since included. Zero means no bound.
	Since, Until time.Time
	// Before, if not zero, selects records that are older than it. It is the
	// reference of the last record of a page.
	Before *Ref
	// Limit is the greatest number of records; 0 means no limit.
	Limit int
}

// DomainOf returns the domain of an address without a resource.
func DomainOf(address []byte) []byte {
	return address[bytes.IndexByte(address, '@')+1:]
}
