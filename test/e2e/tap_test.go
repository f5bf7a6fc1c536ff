//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// A tap is a proxy between a gateway and its server, on a leg without TLS. It
// forwards each byte at once and keeps it. So a test can see what the gateway
// forwarded, and that the server did send a stanza that the client must not
// get.
type tap struct {
	listener net.Listener
	server   string // where the server listens
	running  sync.WaitGroup

	mu   sync.Mutex
	legs []*leg        // guarded by mu, with everything kept in them
	more chan struct{} // closed and replaced whenever a byte is kept
}

// A leg is one connection through a tap.
type leg struct {
	tap      *tap
	up, down []byte   // bytes from the gateway, and from the server; guarded by tap.mu
	gateway  net.Conn // the connection from the gateway
	writing  sync.Mutex
}

// newTap returns a tap in front of a server. It runs until the test ends.
func newTap(t *testing.T, server string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: listener, server: server, more: make(chan struct{})}
	p.running.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for _, l := range p.legs {
			_ = l.gateway.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// serve accepts connections until the listener is closed.
func (p *tap) serve() {
	for {
		gateway, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = gateway.Close() // the test sees it at the gateway
			continue
		}
		l := &leg{tap: p, gateway: gateway}
		p.mu.Lock()
		p.legs = append(p.legs, l)
		p.mu.Unlock()
		p.running.Go(func() { l.carry(server, gateway, &l.up, nil) })
		p.running.Go(func() { l.carry(gateway, server, &l.down, &l.writing) })
	}
}

// carry copies and keeps bytes until one side ends, then closes the other side.
func (l *leg) carry(to, from net.Conn, kept *[]byte, writing *sync.Mutex) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.tap.keep(kept, buffer[:n])
		if writing != nil {
			writing.Lock()
		}
		_, failed := to.Write(buffer[:n])
		if writing != nil {
			writing.Unlock()
		}
		if err != nil || failed != nil {
			return
		}
	}
}

func (p *tap) keep(kept *[]byte, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*kept = append(*kept, b...)
	close(p.more)
	p.more = make(chan struct{})
}

// await waits until a condition on the kept bytes is true.
func (p *tap) await(ctx context.Context, holds func() bool) error {
	for {
		p.mu.Lock()
		done, more := holds(), p.more
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// of returns the connection on which the server bound a full JID.
func (p *tap) of(jid string) (*leg, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.legs) - 1; i >= 0; i-- {
		if bytes.Contains(p.legs[i].down, []byte("<jid>"+jid+"</jid>")) {
			return p.legs[i], nil
		}
	}
	return nil, fmt.Errorf("no connection to the server is bound as %s", jid)
}

// passed is the number of bytes that the gateway has sent the server so far.
func (l *leg) passed() int {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return len(l.up)
}

// upSince returns what the gateway has sent the server after the first n bytes.
func (l *leg) upSince(n int) string {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return string(l.up[n:])
}

// sentSoFar is the number of bytes that the server has sent so far.
func (l *leg) sentSoFar() int {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return len(l.down)
}

// downSince returns what the server has sent after the first n bytes.
func (l *leg) downSince(n int) string {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return string(l.down[n:])
}

// sent waits until the server has sent a text on this connection.
func (l *leg) sent(ctx context.Context, what string) error {
	err := l.tap.await(ctx, func() bool { return bytes.Contains(l.down, []byte(what)) })
	if err != nil {
		return fmt.Errorf("the server sends no %q: %w", what, err)
	}
	return nil
}

// took waits until the gateway has sent the server a text.
func (l *leg) took(ctx context.Context, what string) error {
	err := l.tap.await(ctx, func() bool { return bytes.Contains(l.up, []byte(what)) })
	if err != nil {
		return fmt.Errorf("the gateway sends the server no %q: %w", what, err)
	}
	return nil
}

// inject sends the gateway an element as if the server had sent it. The server
// must be between two elements, so call inject after a fence.
func (l *leg) inject(raw string) error {
	l.tap.keep(&l.down, []byte(raw))
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.gateway.Write([]byte(raw))
	return err
}

// held calls do while no byte from the server reaches the gateway. Elements
// that do injects therefore arrive first. The server must be between two
// elements.
func (l *leg) held(do func(inject func(raw string) error) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return do(func(raw string) error {
		l.tap.keep(&l.down, []byte(raw))
		_, err := l.gateway.Write([]byte(raw))
		return err
	})
}

// elements splits the bytes from a gateway into whole elements, each as it was
// sent.
func elements(raw string) (all []string, err error) {
	decoder := xml.NewDecoder(strings.NewReader(raw))
	depth, start := 0, int64(0)
	for {
		before := decoder.InputOffset()
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF) && depth == 0:
			return all, nil
		case err != nil:
			return all, fmt.Errorf("after %d elements of %q: %w", len(all), raw, err)
		}
		switch token.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				start = before
			}
		case xml.EndElement:
			if depth--; depth == 0 {
				all = append(all, raw[start:decoder.InputOffset()])
			}
		}
	}
}
