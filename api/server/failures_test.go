package server

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// TestFailures: an address has its bound each minute, and however many fail,
// no more are remembered than the bound.
func TestFailures(t *testing.T) {
	var f failures
	now := time.Unix(600, 0)
	for i := range failuresAMinute + 5 {
		if got, want := f.allow("a", now), i < failuresAMinute; got != want {
			t.Errorf("failure %d: %v", i+1, got)
		}
	}
	if !f.allow("b", now) {
		t.Error("another address is refused")
	}
	for i := range 2 * maxFailing {
		f.allow(fmt.Sprint(i), now)
	}
	if len(f.counts) > maxFailing {
		t.Errorf("%d addresses are remembered", len(f.counts))
	}
	if f.allow("new", now) {
		t.Error("one more address is remembered")
	}
	if !f.allow("a", now.Add(time.Minute)) {
		t.Error("the next minute is refused")
	}
}

// TestRemoteSource: an address stands for itself, of IPv6 its network.
func TestRemoteSource(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:5": "10.1.2.3", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[::ffff:10.1.2.3]:5": "10.1.2.3", "[::1]:5": "::1",
	} {
		addr, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := remoteSource(addr); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
}
