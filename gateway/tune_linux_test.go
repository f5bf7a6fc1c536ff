package gateway

import (
	"net"
	"syscall"
	"testing"
)

// TestTune checks that accepted and dialed connections have the socket options
// that detect a dead peer.
func TestTune(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	tune(in)
	for name, conn := range map[string]net.Conn{"accepted": in, "dialed": out} {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []struct{ level, option, want int }{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 10},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
			{syscall.IPPROTO_TCP, tcpUserTimeout, 90_000},
		} {
			var got int
			var failed error
			if err := raw.Control(func(fd uintptr) { got, failed = syscall.GetsockoptInt(int(fd), o.level, o.option) }); err != nil || failed != nil {
				t.Fatal(err, failed)
			}
			if got != o.want {
				t.Errorf("%s: option %d of level %d is %d, want %d", name, o.option, o.level, got, o.want)
			}
		}
	}
}
