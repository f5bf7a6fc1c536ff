package limit

import (
	"net"
	"testing"
	"time"
)

// TestListener: a connection beyond the share of its source is closed, and a
// connection of another source is accepted. Closing a connection frees its
// place. A connection beyond the bound on all waits.
func TestListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listener(inner, 2, 3)
	late := time.AfterFunc(20*time.Second, func() { _ = l.Close() })
	defer late.Stop()
	defer l.Close()
	come := func(from string) net.Conn {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// accepted returns the listener's end of ours, which must be the next
	// connection that the listener accepts.
	accepted := func(ours net.Conn) net.Conn {
		t.Helper()
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { theirs.Close() })
		if theirs.RemoteAddr().String() != ours.LocalAddr().String() {
			t.Fatal("another connection was accepted")
		}
		return theirs
	}
	for range 5 { // each connection is closed before the next
		accepted(come("127.0.0.1")).Close()
	}
	first, second := accepted(come("127.0.0.1")), accepted(come("127.0.0.1"))
	tooMany := come("127.0.0.1")
	accepted(come("127.0.0.2")).Close() // accepted next, so tooMany was not accepted
	if _, err := tooMany.Read(make([]byte, 1)); err == nil {
		t.Error("a source has more connections than its share")
	}
	first.Close()
	first.Close() // twice counts once
	accepted(come("127.0.0.1"))
	come("127.0.0.1")
	accepted(come("127.0.0.2"))

	last, waits := come("127.0.0.3"), make(chan net.Conn, 1)
	go func() {
		theirs, _ := l.Accept() // nil if it fails
		waits <- theirs
	}()
	select {
	case <-waits:
		t.Error("more connections are open than the bound allows")
	case <-time.After(20 * time.Millisecond):
		second.Close()
		theirs := <-waits
		if theirs == nil || theirs.RemoteAddr().String() != last.LocalAddr().String() {
			t.Fatal("the waiting connection is not accepted when there is room")
		}
		theirs.Close()
	}
}
