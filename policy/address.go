package policy

import (
	"bytes"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
)

// A class is the relation of an address to the account of the session.
type class = decision.Class

// The classes by their short names, for the table.
const (
	ownAccount   = decision.OwnAccount
	ownResource  = decision.OwnResource
	ownServer    = decision.OwnServer
	localUser    = decision.LocalUser
	localServer  = decision.LocalServer
	localService = decision.LocalService
	remote       = decision.Remote

	own      = ownAccount | ownResource | ownServer
	local    = localUser | localServer | localService
	anywhere = own | local | remote
)

// places finds the class of addresses for one session.
type places struct {
	view    *projections.View
	tenant  *projections.Tenant
	account []byte
	domain  []byte // domain of the account
}

func domainOf(account []byte) []byte {
	return account[bytes.IndexByte(account, '@')+1:]
}

// classOf returns the class of a.
func (p *places) classOf(a jid.Addr) class {
	if a.IsZero() {
		return ownAccount
	}
	domain := a.Domain()
	if !bytes.Equal(domain, p.domain) {
		if p.tenant == nil {
			return remote
		}
		switch p.view.HostKindFor(p.tenant, domain) {
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
	if !bytes.Equal(a.Bare(), p.account) {
		return localUser
	}
	if a.HasResource() {
		return ownResource
	}
	return ownAccount
}

// anyRemote reports whether one of the addresses is remote.
func (p *places) anyRemote(list []jid.Addr) bool {
	for _, a := range list {
		if p.classOf(a) == remote {
			return true
		}
	}
	return false
}

// isServed reports whether a is in a domain of any tenant of this installation.
func (p *places) isServed(a jid.Addr) bool {
	_, place := p.view.Owner(a.Domain())
	return place == projections.Domain
}
