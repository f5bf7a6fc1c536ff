package overnats

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWrongServer checks that nothing is sent to a server with the wrong name.
func TestWrongServer(t *testing.T) {
	s := startNATS(t, -1) // its name is "test"
	conn, err := Connect(ConnectConfig{URLs: []string{s.ClientURL()}, ServerName: "postern", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.IsConnected() {
		t.Error("connected to a server of another name")
	}
	if err := conn.Publish("x", nil); err == nil {
		t.Error("published without a connection")
	}
	if _, err := dialing("postern").Dial("tcp", s.Addr().String()); err == nil || !strings.Contains(err.Error(), `"test", not "postern"`) {
		t.Errorf("dial: %v", err)
	}
}

// dialing returns a dialer whose first attempt is over.
func dialing(serverName string) *dialer {
	d := &dialer{serverName: serverName}
	d.attempts.Store(1)
	return d
}

// TestServerNames checks that a name stands for itself and for the names that
// continue it after a hyphen.
func TestServerNames(t *testing.T) {
	for name, want := range map[string]bool{
		"postern": true, "postern-n1": true, "postern-": true, "postern2": false, "postern.n1": false, "poster": false, "other-postern": false, "": false,
	} {
		err := dialing("postern").check([]byte(`INFO {"server_name":"` + name + "\"}\r\n"))
		if got := err == nil; got != want || err != nil && !errors.Is(err, errOtherServer) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestConnectDoesNotDial checks that Connect returns although the server's host
// accepts the connection and never sends its first line.
func TestConnectDoesNotDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin := time.Now()
	conn, err := Connect(ConnectConfig{URLs: []string{"nats://" + l.Addr().String()}, ServerName: "postern", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if took := time.Since(begin); took >= dialTimeout {
		t.Errorf("Connect waited %v for the server", took)
	}
	c, err := l.Accept() // it dials in the background
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestClosedIsNotLost checks that a connection that this side closes is not logged
// as lost.
func TestClosedIsNotLost(t *testing.T) {
	s := startNATS(t, -1)
	lines := new(bytes.Buffer) // written only by the connection's callbacks, which never run at the same time
	conn, err := Connect(ConnectConfig{URLs: []string{s.ClientURL()}, ServerName: "test", Logger: slog.New(slog.NewTextHandler(lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	connected(t, conn)
	done := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(done) }) // the last callback
	conn.Close()
	<-done
	if strings.Contains(lines.String(), "lost") || !strings.Contains(lines.String(), "connected to NATS") {
		t.Errorf("log:\n%s", lines)
	}
}

func TestNotAServer(t *testing.T) {
	for name, say := range map[string]string{
		"garbage":  "HTTP/1.1 200 OK\r\n\r\n",
		"no name":  "INFO {}\r\n",
		"no JSON":  "INFO {\r\n",
		"closed":   "INFO",
		"too long": strings.Repeat("x", maxInfo+1),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan int, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write([]byte(say))
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, _ := c.Read(make([]byte, 1))
			heard <- n
		}()
		if c, err := dialing("postern").Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Errorf("%s was accepted as a server", name)
		}
		if n := <-heard; n > 0 {
			t.Errorf("%s: something was sent to it", name)
		}
		l.Close()
	}
}

func TestConnectRefuses(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, seed, 0o644); err != nil {
		t.Fatal(err)
	}
	local := []string{"nats://127.0.0.1:1"}
	for want, cfg := range map[string]ConnectConfig{
		"no NATS server": {},
		"loopback":       {URLs: []string{"nats://10.0.0.1:4222"}},
		"no secret":      {URLs: []string{"nats://user:secret@127.0.0.1:4222"}},
		"seed file":      {URLs: local, SeedFile: filepath.Join(dir, "missing")},
		"may read it":    {URLs: local, SeedFile: open},
	} {
		conn, err := Connect(cfg)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
}

// TestConnectLater checks that a gateway may start before NATS.
func TestConnectLater(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	conn, err := Connect(ConnectConfig{URLs: []string{"nats://" + l.Addr().String()}, ServerName: "test", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	startNATS(t, port)
	connected(t, conn)
}

// connected waits until the connection is made.
func connected(t testing.TB, conn *nats.Conn) {
	t.Helper()
	status := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(status)
	if conn.IsConnected() {
		return
	}
	select {
	case <-status:
	case <-time.After(10 * time.Second):
		t.Fatal("not connected")
	}
}
