package network

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is a time in which bytes would arrive if the link delivered them.
const soon = 100 * time.Millisecond

// echo answers each line with the same line, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if _, err := conn.Write(append(lines.Bytes(), '\n')); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// open runs a link to an echo server and connects through it.
func open(t *testing.T) (*Link, net.Conn) {
	t.Helper()
	to := echo(t)
	l, err := Listen(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l, conn
}

// answers sends a line and reports whether its echo arrives within a time.
func answers(t *testing.T, conn net.Conn, within time.Duration) bool {
	t.Helper()
	if _, err := conn.Write([]byte("x\n")); err != nil {
		return false
	}
	return arrives(t, conn, within)
}

func arrives(t *testing.T, conn net.Conn, within time.Duration) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	_, err := conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Logf("read: %v", err)
	}
	return err == nil
}

func TestLink(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func(*Link)
	}{
		{"cut", (*Link).Cut},
		{"cut forward", (*Link).CutForward},
		{"cut back", (*Link).CutBack},
		{"slow", func(l *Link) { l.Slow(time.Hour) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, conn := open(t)
			if !answers(t, conn, 10*time.Second) {
				t.Fatal("the link does not deliver")
			}
			test.fail(l)
			if answers(t, conn, soon) {
				t.Fatal("the failed link delivers")
			}
			l.Mend()
			if !arrives(t, conn, 10*time.Second) {
				t.Fatal("the bytes are lost")
			}
		})
	}
}

func TestDown(t *testing.T) {
	l, conn := open(t)
	if !answers(t, conn, 10*time.Second) {
		t.Fatal("the link does not deliver")
	}
	l.Down(true)
	if answers(t, conn, 10*time.Second) {
		t.Error("the connection is still open")
	}
	l.Mend()
	again, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !answers(t, again, 10*time.Second) {
		t.Error("a new connection does not work")
	}
}
