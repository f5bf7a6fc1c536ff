package negotiate

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/postern-im/postern/gateway/proxyheader"
)

// introduce tells the backend whose connection it gets, by a PROXY header of
// version 2. A client whose address is not known is not introduced as somebody
// else: the backend is not used.
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

// addrPort is the zero one where a has no IP address.
func addrPort(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
