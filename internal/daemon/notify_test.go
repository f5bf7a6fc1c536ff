package daemon

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A manager is the socket of a service manager.
type manager struct{ conn *net.UnixConn }

func newManager(t *testing.T) (manager, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return manager{conn}, path
}

// next returns the next message, or "" if none comes within the time.
func (m manager) next(t *testing.T, within time.Duration) string {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := m.conn.Read(buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// TestNotifier: systemd is told that the daemon serves, is alive, and stops. While
// a part of the daemon is stuck, it is not told that the daemon is alive.
func TestNotifier(t *testing.T) {
	const soon, silence = 5 * time.Second, 200 * time.Millisecond
	m, path := newManager(t)
	var stuck = make(chan struct{}, 1)
	n, err := NewNotifier([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=20000", "WATCHDOG_PID=" + strconv.Itoa(os.Getpid())}, func() {
		stuck <- struct{}{}
		<-stuck
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := m.next(t, soon); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	stuck <- struct{}{} // a lock that Alive needs is taken
	for m.next(t, silence) != "" {
	}
	<-stuck
	if got := m.next(t, soon); got != "WATCHDOG=1" {
		t.Errorf("after the lock is free: %q", got)
	}
	stop()
	for got := ""; got != "STOPPING=1"; {
		if got = m.next(t, soon); got == "" {
			t.Fatal("no STOPPING=1")
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNotifierEnvironment: without a service manager nothing is sent, and a
// watchdog of another process is not this one's.
func TestNotifierEnvironment(t *testing.T) {
	for _, c := range []struct {
		environ  string
		watchdog time.Duration
		want     string // in the error
	}{
		{"", 0, ""},
		{"WATCHDOG_USEC=20000", 0, ""},
		{"NOTIFY_SOCKET=/run/x", 0, ""},
		{"NOTIFY_SOCKET=@x WATCHDOG_USEC=30000000", 15 * time.Second, ""},
		{"NOTIFY_SOCKET=/run/x WATCHDOG_USEC=30000000 WATCHDOG_PID=1", 0, ""},
		{"NOTIFY_SOCKET=run/x", 0, "NOTIFY_SOCKET"},
		{"NOTIFY_SOCKET=/run/x WATCHDOG_USEC=1", 0, "WATCHDOG_USEC"},
		{"NOTIFY_SOCKET=/run/x WATCHDOG_USEC=soon", 0, "WATCHDOG_USEC"},
	} {
		n, err := NewNotifier(strings.Fields(c.environ), nil)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v", c.environ, err)
			}
			continue
		}
		if err != nil || n.watchdog != c.watchdog {
			t.Errorf("%q: %v, %v", c.environ, n, err)
		}
	}
	n, err := NewNotifier([]string{"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "none")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); err == nil {
		t.Error("READY=1 was lost without an error")
	}
}

// TestCredentials: a setting can name a credential of the service, and nothing
// outside its folder.
func TestCredentials(t *testing.T) {
	const dir = "CREDENTIALS_DIRECTORY=/run/credentials/postern"
	for _, c := range []struct{ value, environ, want, refused string }{
		{"plain", dir, "plain", ""},
		{"credential:seed.nkey", dir, "/run/credentials/postern/seed.nkey", ""},
		{"credential:seed", "", "", "CREDENTIALS_DIRECTORY"},
		{"credential:seed", "CREDENTIALS_DIRECTORY=run", "", "CREDENTIALS_DIRECTORY"},
		{"credential:../seed", dir, "", "want credential:"},
		{"credential:a/b", dir, "", "want credential:"},
		{"credential:..", dir, "", "want credential:"},
		{"credential:", dir, "", "want credential:"},
		{"credential:$HOME", dir, "", "want credential:"},
	} {
		got, err := load(t, "id = \""+c.value+"\"\n", c.environ)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v", c.value, err)
			}
			continue
		}
		if err != nil || got.ID != c.want {
			t.Errorf("%s: %q, %v", c.value, got.ID, err)
		}
	}
	if got, err := load(t, "", dir, "X_ID=credential:seed"); err != nil || got.ID != "/run/credentials/postern/seed" {
		t.Errorf("from the environment: %q, %v", got.ID, err)
	}
}
