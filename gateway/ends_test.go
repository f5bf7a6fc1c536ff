package gateway_test

import (
	"bufio"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// An end is the client or the backend.
type end struct {
	conn net.Conn
	done chan struct{} // closed when the reader has stopped

	mu   sync.Mutex
	got  []byte
	eof  bool
	told bool
}

func newEnd(c net.Conn) *end {
	e := &end{conn: c}
	e.read()
	return e
}

func (e *end) read() {
	e.done = make(chan struct{})
	conn := e.conn
	go func() {
		defer close(e.done)
		r := bufio.NewReader(conn)
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			e.mu.Lock()
			e.got = append(e.got, buf[:n]...)
			if err != nil {
				e.eof = !errors.Is(err, os.ErrDeadlineExceeded)
				e.mu.Unlock()
				return
			}
			e.mu.Unlock()
		}
	}()
}

var hexByte = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// send sends a text. It does not wait until the gateway has read it.
func (e *end) send(text string) {
	text = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\t`, "\t", `\0`, "\x00").Replace(text)
	text = hexByte.ReplaceAllStringFunc(text, func(s string) string {
		b, _ := hex.DecodeString(s[2:])
		return string(b)
	})
	if n, times, ok := repeated(text); ok {
		text = strings.Repeat(n, times)
	}
	go func() { _, _ = io.WriteString(e.conn, text) }()
}

// repeated parses "TEXT * N".
func repeated(s string) (text string, n int, ok bool) {
	text, count, ok := strings.Cut(s, " * ")
	if !ok {
		return s, 1, false
	}
	_, err := fmt.Sscan(count, &n)
	return text, n, err == nil
}

func (e *end) startTLS(alpn, sni string) {
	_ = e.conn.SetReadDeadline(time.Unix(1, 0))
	<-e.done
	_ = e.conn.SetReadDeadline(time.Time{})
	config := &tls.Config{InsecureSkipVerify: true, ServerName: sni} // a self-signed certificate
	if alpn != "" && alpn != "-" {
		config.NextProtos = []string{alpn}
	}
	e.conn = tls.Client(e.conn, config)
	e.read()
}

// take returns the bytes received since the last time, and whether the
// connection has ended since then.
func (e *end) take() (string, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	got, eof := string(e.got), e.eof && !e.told
	e.got, e.told = nil, e.eof
	return got, eof
}

func (e *end) close() {
	c := e.conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
	<-e.done
}

// A pipeListener is a listener in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
