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

// A tap stands between a gateway and its server. Each byte goes on at once and
// is kept, so that a test can see what the gateway let through, and that the
// server really did send what a client was not to get. The leg between them is
// not encrypted.
type tap struct {
	listener net.Listener
	server   string // where the server listens
	running  sync.WaitGroup

	mu   sync.Mutex
	legs []*leg        // guarded by mu, as all that is kept in them
	more chan struct{} // closed, and made anew, whenever there is more
}

// A leg is one connection through a tap.
type leg struct {
	tap      *tap
	up, down []byte   // from the gateway, from the server; guarded by tap.mu
	gateway  net.Conn // what is written to it comes from the server, for the gateway
	writing  sync.Mutex
}

// newTap listens before a server until the test has ended.
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

// serve takes connections until the listener is closed.
func (p *tap) serve() {
	for {
		gateway, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = gateway.Close() // the gateway's test is what notices
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

// carry copies and keeps until one side has ended, and ends the other.
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

// await waits until a condition on what was kept holds.
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

// of finds the connection on which the server bound a full JID.
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

// passed is how many bytes the gateway has sent the server so far.
func (l *leg) passed() int {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return len(l.up)
}

// upSince is what the gateway has sent the server behind that many bytes.
func (l *leg) upSince(n int) string {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return string(l.up[n:])
}

// sentSoFar is how many bytes the server has sent so far.
func (l *leg) sentSoFar() int {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return len(l.down)
}

// downSince is what the server has sent behind that many bytes.
func (l *leg) downSince(n int) string {
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return string(l.down[n:])
}

// sent waits until the server has sent something on this connection.
func (l *leg) sent(ctx context.Context, what string) error {
	err := l.tap.await(ctx, func() bool { return bytes.Contains(l.down, []byte(what)) })
	if err != nil {
		return fmt.Errorf("the server sends no %q: %w", what, err)
	}
	return nil
}

// took waits until the gateway has sent the server something.
func (l *leg) took(ctx context.Context, what string) error {
	err := l.tap.await(ctx, func() bool { return bytes.Contains(l.up, []byte(what)) })
	if err != nil {
		return fmt.Errorf("the gateway sends the server no %q: %w", what, err)
	}
	return nil
}

// inject sends the gateway something as if the server had. The server must be
// between two elements: call it behind a fence.
func (l *leg) inject(raw string) error {
	l.tap.keep(&l.down, []byte(raw))
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.gateway.Write([]byte(raw))
	return err
}

// held calls do while nothing that the server sends goes on to the gateway. What
// do injects comes before it. The server must be between two elements.
func (l *leg) held(do func(inject func(raw string) error) error) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return do(func(raw string) error {
		l.tap.keep(&l.down, []byte(raw))
		_, err := l.gateway.Write([]byte(raw))
		return err
	})
}

// elements splits what a gateway has sent into its whole elements, each as it
// was sent.
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
			return all, fmt.Errorf("behind %d elements of %q: %w", len(all), raw, err)
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
