package gateway

import (
	"net"
	"net/netip"
	"testing"
)

func TestSource(t *testing.T) {
	for _, c := range [][2]string{
		{"192.0.2.1:5222", "192.0.2.1/32"},
		{"[::ffff:192.0.2.1]:5222", "192.0.2.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:5222", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:5222", "fe80::/64"},
	} {
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c[0]))
		if got := netip.Prefix(sourceOf(a)).String(); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
}

func TestLimits(t *testing.T) {
	l := limits{total: 3, each: 2, by: make(map[source]int)}
	a, b := source(netip.MustParsePrefix("192.0.2.1/32")), source(netip.MustParsePrefix("2001:db8::/64"))
	for i, step := range []struct {
		s    source
		want bool
	}{{a, true}, {a, true}, {a, false}, {b, true}, {b, false}} {
		if got := l.take(step.s); got != step.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	l.give(a)
	l.give(a)
	l.give(b)
	if l.all != 0 || len(l.by) != 0 {
		t.Errorf("left: %d, %v", l.all, l.by)
	}
}
