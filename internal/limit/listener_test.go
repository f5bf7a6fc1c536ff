package limit

import (
	"net"
	"testing"
	"time"
)

// TestListener: a source's connection too many is closed, another source's is
// accepted, one that is closed makes room, and one too many of all waits.
func TestListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listener(inner, 2, 3)
	accepted := make(chan net.Conn, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for len(accepted) > 0 {
			(<-accepted).Close()
		}
	})
	dial := func(from string) (conn net.Conn, closed <-chan error) {
		t.Helper()
		dialer := net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		end := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			end <- err
		}()
		return conn, end
	}
	// come returns the accepted end of a connection; nil if it was closed.
	come := func(from string) net.Conn {
		t.Helper()
		conn, closed := dial(from)
		select {
		case theirs := <-accepted:
			if theirs.RemoteAddr().String() != conn.LocalAddr().String() {
				t.Fatal("another connection was accepted")
			}
			t.Cleanup(func() { theirs.Close() })
			return theirs
		case <-closed:
			return nil
		case <-time.After(20 * time.Second):
			t.Fatal("the connection waits, and is neither accepted nor closed")
			return nil
		}
	}
	first := come("127.0.0.1")
	if first == nil || come("127.0.0.1") == nil {
		t.Fatal("a source was refused its share")
	}
	if come("127.0.0.1") != nil {
		t.Error("a source has more than its share")
	}
	first.Close()
	first.Close() // twice counts once
	last := come("127.0.0.1")
	if last == nil {
		t.Fatal("the place of a closed connection is not given back")
	}
	if come("127.0.0.1") != nil {
		t.Error("a connection that was closed twice counts twice")
	}
	if come("127.0.0.2") == nil {
		t.Error("another source has no share")
	}
	waits, _ := dial("127.0.0.3")
	if len(accepted) != 0 {
		t.Error("more than all connections are open")
	}
	last.Close()
	select {
	case theirs := <-accepted:
		defer theirs.Close()
		if theirs.RemoteAddr().String() != waits.LocalAddr().String() {
			t.Error("another connection was accepted")
		}
	case <-time.After(20 * time.Second):
		t.Error("the connection that waits is not accepted when there is room")
	}
}
