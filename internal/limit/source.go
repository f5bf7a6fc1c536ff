package limit

import (
	"net"
	"net/netip"
	"strings"
)

// A Source is the origin of connections that are counted together: an IPv4
// address, or an IPv6 /64 network, because one client can use all addresses of
// such a network. The IPv6 loopback address is a Source of its own, because no
// other address of its network is in use. The zero Source is the origin of
// connections without an IP address, such as those to a Unix socket.
type Source struct{ network netip.Prefix }

// SourceOf returns the Source of the address at the other end of a connection.
func SourceOf(a net.Addr) Source {
	ip, ok := IP(a)
	if !ok {
		return Source{}
	}
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLoopback() {
		bits = 64
	}
	return Source{netip.PrefixFrom(ip, bits).Masked()}
}

// Site returns the /48 network of an IPv6 Source, which many providers give to a
// single customer. An IPv4 Source and the zero Source have no site.
func (s Source) Site() (site Source, ok bool) {
	if !s.network.Addr().Is6() {
		return Source{}, false
	}
	return Source{netip.PrefixFrom(s.network.Addr(), 48).Masked()}, true
}

// String returns the address of a Source, or its network in CIDR notation. For
// the zero Source it returns "network". Records and log lines contain this
// string.
func (s Source) String() string {
	switch {
	case !s.network.IsValid():
		return "network"
	case s.network.IsSingleIP():
		return s.network.Addr().String()
	}
	return s.network.String()
}

// IP returns the IP address of a peer without its port and zone. An IPv4-mapped
// IPv6 address is returned as an IPv4 address. If the peer has no IP address, ok
// is false.
func IP(a net.Addr) (ip netip.Addr, ok bool) {
	ap, err := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// IsLoopback reports whether a host, with or without a port, is this machine's
// loopback interface: the name localhost, or a loopback address. It does not
// resolve other names, because the address of a name can change at any time.
func IsLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
