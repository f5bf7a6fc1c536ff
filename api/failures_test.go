package api

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

// TestNames of this machine and of others.
func TestNames(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:1": true, "127.0.0.1:9": true, "127.8.8.8": true, "[::1]:9": true, "::1": true, "[::ffff:127.0.0.1]:1": true,
		"": false, "evil.test": false, "localhost.evil.test:1": false, "127.0.0.1.evil.test": false, "10.0.0.1:9": false, "0.0.0.0": false,
	} {
		if LoopbackHost(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
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
