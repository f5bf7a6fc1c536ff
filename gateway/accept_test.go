package gateway

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/postern-im/postern/internal/limit"
)

func newTestLimits(total, each, early, perAccount int) *limits {
	return &limits{
		total: total, each: each, early: early, perAccount: perAccount,
		by: limit.NewHeld[limit.Source](), unbound: limit.NewHeld[limit.Source](),
		accounts: limit.NewHeld[account](), tenants: limit.NewHeld[string](),
	}
}

// come makes a connection from a prefix's first address. If a limit is reached,
// it returns the name of the limit.
func (l *limits) come(from string) (*place, string) {
	p := &place{limits: l}
	reached := p.enter()
	if reached == "" {
		ip := netip.MustParsePrefix(from).Addr()
		reached = p.take(limit.SourceOf(net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 1))))
	}
	if reached != "" {
		p.leave()
	}
	return p, reached
}

func TestLimits(t *testing.T) {
	l := newTestLimits(30, 2, 1, 1)
	var all []*place
	for i, step := range []struct{ from, want string }{
		{"192.0.2.1/32", ""}, {"192.0.2.1/32", ""}, {"192.0.2.1/32", byAddress}, {"2001:db8::/64", ""},
	} {
		p, got := l.come(step.from)
		if got != step.want {
			t.Errorf("step %d: %q", i, got)
		}
		if got == "" {
			p.bound()
			all = append(all, p)
		}
	}
	first, limit := l.come("192.0.2.2/32")
	if _, second := l.come("192.0.2.2/32"); limit != "" || second != byEarly {
		t.Errorf("%q, then %q", limit, second)
	}
	first.bound()
	first.bound()
	second, limit := l.come("192.0.2.2/32")
	if limit != "" {
		t.Errorf("once the first is bound: %q", limit)
	}
	all = append(all, first, second)
	for i := range 30 { // all from one /48, each from another /64
		p, limit := l.come(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, byte(i)}), 64).String())
		if want := i >= 16; (limit == byAddress) != want {
			t.Errorf("%d of a /48: %q", i+1, limit)
		}
		if limit == "" {
			all = append(all, p)
		}
	}
	for len(all) < 30 {
		p, limit := l.come(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(len(all))}), 32).String())
		if limit != "" {
			t.Fatal(limit)
		}
		all = append(all, p)
	}
	if _, limit := l.come("203.0.113.1/32"); limit != byConnections {
		t.Errorf("a connection over the limit: %q", limit)
	}
	for _, p := range all {
		p.leave()
		p.leave()
	}
	if l.all != 0 || l.by.Keys() != 0 || l.unbound.Keys() != 0 {
		t.Errorf("left: %d, %v, %v", l.all, l.by, l.unbound)
	}
}

// When nearly all connections are taken, a tenant that has its share gets no
// further session, but another tenant does.
func TestTenantShare(t *testing.T) {
	l := newTestLimits(100, 100, 100, 50)
	var all []account
	take := func(tenant string, i int) string {
		a := account{tenant, string(rune('a'+i)) + "@" + tenant}
		limit := l.take(a, 0)
		if limit == "" {
			all = append(all, a)
		}
		return limit
	}
	l.all = 91
	for i := range 60 {
		l.all = 50
		if limit := take("large", i); limit != "" {
			t.Fatal(limit)
		}
	}
	take("small", 0)
	l.all = 91
	if got := take("large", 61); got != byTenant {
		t.Errorf("the large one: %q", got)
	}
	if got := take("small", 1); got != "" {
		t.Errorf("the small one: %q", got)
	}
	if got := take("new", 1); got != "" {
		t.Errorf("a new one: %q", got)
	}
	l.all = 90
	if got := take("large", 62); got != "" {
		t.Errorf("below nine tenths: %q", got)
	}
	for _, a := range all {
		l.give(a)
	}
	if l.accounts.Keys() != 0 || l.tenants.Keys() != 0 {
		t.Error("left", l.accounts, l.tenants)
	}
}

// A tenant never has more sessions than its limit. A session that another
// limit refuses is not counted, and each session that ends frees a place.
func TestTenantLimit(t *testing.T) {
	const most = 3
	l := newTestLimits(100, 100, 100, 2)
	open := map[account]int{}
	sessions := 0
	for i, rng := 0, rand.New(rand.NewPCG(1, 2)); i < 2000; i++ {
		a := account{"acme", string(rune('a'+rng.IntN(4))) + "@a.test"}
		if rng.IntN(2) == 0 && open[a] > 0 {
			l.give(a)
			open[a]--
			sessions--
			continue
		}
		want := ""
		switch {
		case sessions == most:
			want = bySessions
		case open[a] == 2:
			want = byAccount
		}
		got := l.take(a, most)
		if got != want {
			t.Fatalf("step %d: %q, want %q", i, got, want)
		}
		if got == "" {
			open[a]++
			sessions++
		}
		if other := (account{"other", "x@b.test"}); l.take(other, most) != "" {
			t.Fatalf("step %d: another tenant is refused", i)
		} else {
			l.give(other)
		}
	}
	for a, n := range open {
		for range n {
			l.give(a)
		}
	}
	if l.accounts.Keys() != 0 || l.tenants.Keys() != 0 {
		t.Error("left", l.accounts, l.tenants)
	}
}
