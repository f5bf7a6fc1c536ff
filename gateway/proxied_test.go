package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// TestProxyHealthCheck: a proxy that connects and resets the connection without
// sending a byte, as HAProxy's checks do, is distinguished from a proxy that
// sends no header.
func TestProxyHealthCheck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, c := range []struct {
		name, says string
		check      bool
	}{
		{"nothing", "", true},
		{"half a header", "PROXY TCP4 ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			proxy, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
			if err != nil {
				t.Fatal(err)
			}
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			if _, err := io.WriteString(proxy, c.says); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(proxy.SetLinger(0), proxy.Close()); err != nil {
				t.Fatal(err)
			}
			err = (&connection{Conn: accepted}).introduce(context.Background())
			if err == nil || (err == io.EOF) != c.check {
				t.Errorf("introduce: %v, health check: %v", err, c.check)
			}
		})
	}
}
