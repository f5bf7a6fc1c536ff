package negotiate

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/postern-im/postern/gateway/proxyheader"
)

// introduce sends the client's address to the backend in a PROXY header of
// version 2. If the client's address is unknown, it returns an error and the
// backend is not used, because the backend would otherwise hold another
// address responsible for the client.
func (x *negotiation) introduce() error {
	b, err := proxyheader.Append(nil, proxyheader.Header{Source: addrPort(x.remote), Destination: addrPort(x.local)})
	if err != nil {
		return err
	}
	if err := x.backend.write(b); err != nil {
		return fmt.Errorf("send the PROXY header: %w", err)
	}
	return nil
}

// addrPort returns the address and port of a, or zero if a has no IP address.
func addrPort(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
