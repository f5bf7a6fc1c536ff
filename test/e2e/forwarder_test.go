//go:build e2e

package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A forwarder is a proxy between a gateway and its backend that simulates
// network failures: it can be down, and it can cut a connection inside a
// stanza.
type forwarder struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards all below
	down  bool
	cut   bool // forward half of the backend's next bytes, then close the connection
	conns map[net.Conn]bool
}

// newForwarder returns a forwarder to an address. It runs until the test ends.
func newForwarder(t *testing.T, to string) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: l, to: to, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() { f.serve(&serving) })
	t.Cleanup(func() {
		l.Close()
		f.setDown(true)
		serving.Wait()
	})
	return f
}

func (f *forwarder) addr() string { return f.listener.Addr().String() }

// setDown takes the forwarder down, which closes all connections and refuses
// new ones, or brings it up again.
func (f *forwarder) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	for conn := range f.conns {
		if down {
			conn.Close()
		}
	}
}

// cutNext makes the forwarder cut each connection in the middle of the
// backend's next bytes.
func (f *forwarder) cutNext() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = true
}

// mend stops cutting.
func (f *forwarder) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = false
}

// keep records a connection, to be closed when the forwarder goes down. It
// reports false if the forwarder is down.
func (f *forwarder) keep(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return false
	}
	f.conns[conn] = true
	return true
}

func (f *forwarder) forget(conn net.Conn) {
	conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, conn)
}

func (f *forwarder) serve(serving *sync.WaitGroup) {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			defer f.forget(conn)
			backend, err := net.Dial("tcp", f.to)
			if err != nil {
				return
			}
			defer f.forget(backend)
			if !f.keep(conn) || !f.keep(backend) {
				return
			}
			var upward sync.WaitGroup
			upward.Go(func() {
				_, _ = io.Copy(backend, conn)
				backend.Close()
			})
			_ = f.copyDown(conn, backend)
			conn.Close()
			upward.Wait()
		})
	}
}

var errCut = errors.New("cut")

// copyDown forwards the backend's bytes, or cuts them.
func (f *forwarder) copyDown(to, from net.Conn) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		f.mu.Lock()
		cut := f.cut && n > 0
		f.mu.Unlock()
		if cut {
			_, _ = to.Write(buffer[:(n+1)/2])
			return errCut
		}
		if _, writing := to.Write(buffer[:n]); err == nil {
			err = writing
		}
		if err != nil {
			return err
		}
	}
}
