package limit

import (
	"net"
	"net/netip"
	"testing"
)

func TestSource(t *testing.T) {
	for _, c := range []struct{ address, source, site string }{
		{"192.0.2.1:5222", "192.0.2.1", ""},
		{"[::ffff:192.0.2.1]:5222", "192.0.2.1", ""},
		{"[2001:db8:1:2:3:4:5:6]:5222", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"[fe80::1%eth0]:5222", "fe80::/64", "fe80::/48"},
		{"127.0.0.1:1", "127.0.0.1", ""},
		{"[::1]:1", "::1", "::/48"},
	} {
		s := SourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.address)))
		site, ok := s.Site()
		if s.String() != c.source || ok != (c.site != "") || ok && site.String() != c.site {
			t.Errorf("%s: %s in %s, want %s in %s", c.address, s, site, c.source, c.site)
		}
	}
	one, other := SourceOf(&net.UnixAddr{Name: "/run/one"}), SourceOf(&net.UnixAddr{})
	if site, ok := one.Site(); ok || one != (Source{}) || one != other || one.String() != "network" {
		t.Errorf("Unix sockets: %s and %s, site %s", one, other, site)
	}
}

// Addresses in one network are one source. Addresses in two networks are two.
func TestSourceTellsApart(t *testing.T) {
	of := func(address string) Source {
		return SourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	}
	if of("[2001:db8:1:2::1]:1") != of("[2001:db8:1:2:ffff::2]:2") || of("192.0.2.1:1") != of("[::ffff:192.0.2.1]:2") {
		t.Error("one network is two sources")
	}
	if of("[2001:db8:1:2::1]:1") == of("[2001:db8:1:3::1]:1") || of("192.0.2.1:1") == of("192.0.2.2:1") {
		t.Error("two networks are one source")
	}
}

func TestIP(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1", "[fe80::1%eth0]:1": "fe80::1", "[2001:db8::1]:1": "2001:db8::1",
	} {
		if ip, ok := IP(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))); !ok || ip.String() != want {
			t.Errorf("%s: %s, want %s", address, ip, want)
		}
	}
	if ip, ok := IP(&net.UnixAddr{Name: "/run/socket"}); ok {
		t.Errorf("a Unix socket: %s", ip)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:1": true, "127.0.0.1": true, "127.0.0.1:9": true, "127.8.8.8": true,
		"[::1]:9": true, "[::1]": true, "::1": true, "[::ffff:127.0.0.1]:1": true,
		"": false, ":1": false, "evil.test": false, "localhost.evil.test:1": false, "127.0.0.1.evil.test": false,
		"10.0.0.1:9": false, "0.0.0.0": false, "[::]:1": false,
	} {
		if IsLoopback(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}
