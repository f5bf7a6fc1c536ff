package policy

import (
	"bytes"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// A class is the relation of an address to the account of the session. It is
// one bit, so that a row of the table can name several classes.
type class uint8

// The classes. An absent address counts as the own account.
const (
	ownAccount   class = 1 << iota // the account's bare JID
	ownResource                    // the account's bare JID with a resource
	ownServer                      // the account's domain, with or without a resource
	localUser                      // any other JID with a localpart, in a domain of the tenant
	localServer                    // another domain of the tenant, with or without a resource
	localService                   // any JID in a service of the tenant or in a shared service of the installation
	remote                         // everything else, including other tenants

	own      = ownAccount | ownResource | ownServer
	local    = localUser | localServer | localService
	anywhere = own | local | remote
)

// judge is the state of one decision: the question, and the parts of the View
// that belong to its session.
type judge struct {
	q      *decision.Question
	view   *projections.View
	tenant *projections.Tenant
	access projections.Access
	domain []byte // domain of the account
	peer   class  // class of to (out) or from (in)
}

func domainOf(account []byte) []byte {
	return account[bytes.IndexByte(account, '@')+1:]
}

// classOf returns the class of a.
func (j *judge) classOf(a jid.Addr) class {
	if a.IsZero() {
		return ownAccount
	}
	domain := a.Domain()
	if !bytes.Equal(domain, j.domain) {
		switch j.view.HostKindFor(j.tenant, domain) {
		case projections.Domain:
			if !a.HasLocal() {
				return localServer
			}
			return localUser
		case projections.Service:
			return localService
		}
		return remote
	}
	if !a.HasLocal() {
		return ownServer
	}
	if !bytes.Equal(a.Bare(), j.q.Session.Account) {
		return localUser
	}
	if a.HasResource() {
		return ownResource
	}
	return ownAccount
}

// anyRemote reports whether one of the addresses is remote.
func (j *judge) anyRemote(list []jid.Addr) bool {
	for _, a := range list {
		if j.classOf(a) == remote {
			return true
		}
	}
	return false
}

// actsOnInside reports whether the receiver of the stanza may act on addresses
// anywhere in the payload. A service does so for an iq set.
func (j *judge) actsOnInside() bool {
	return j.q.Desc.Kind == stanza.IQ && j.q.Desc.Type == stanza.Set && j.peer == localService
}

// isServed reports whether a is in a domain of any tenant of this installation.
func (j *judge) isServed(a jid.Addr) bool {
	_, place := j.view.Owner(a.Domain())
	return place == projections.Domain
}
