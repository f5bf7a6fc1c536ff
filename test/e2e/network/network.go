// Package network is a network between Postern's programs that can fail: each
// link is a TCP proxy that a test can cut in both directions or in one, slow
// down, or take down.
//
// A cut link keeps its connections and delivers nothing, as a network does that
// drops packets: the bytes arrive when the link is mended. A link that is down
// closes its connections and refuses new ones, as the machine of a stopped program
// does. The package knows nothing about the bytes.
package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the connection to the program behind a link.
const dialTimeout = 5 * time.Second

// chunk is how many bytes a link delivers at once.
const chunk = 32 << 10

// A Link is a proxy from its own address to the address of one program. Forward is
// the direction from the program that connects.
type Link struct {
	listener net.Listener
	to       string

	mu      sync.Mutex // guards the fields below
	forward bool       // bytes are delivered in this direction
	back    bool
	down    bool
	delay   time.Duration
	changed chan struct{} // closed and replaced with each change
	conns   map[net.Conn]struct{}
}

// Listen opens a link to an address. It delivers nothing until Run.
func Listen(ctx context.Context, to string) (*Link, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a link to %s: %w", to, err)
	}
	return &Link{
		listener: listener, to: to, forward: true, back: true,
		changed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}, nil
}

// Addr is the address at which the link accepts connections.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Run carries connections until ctx ends, and then closes them.
func (l *Link) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = l.listener.Close()
		l.Down(true)
	})
	defer stop()
	var carrying sync.WaitGroup
	defer carrying.Wait()
	for {
		conn, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("link to %s: %w", l.to, err)
		}
		carrying.Go(func() { l.carry(ctx, conn) })
	}
}

// carry carries one connection.
func (l *Link) carry(ctx context.Context, from net.Conn) {
	defer from.Close()
	if !l.keep(from) {
		return
	}
	defer l.drop(from)
	to, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", l.to)
	if err != nil {
		return // the program behind the link does not run
	}
	defer to.Close()
	if !l.keep(to) {
		return
	}
	defer l.drop(to)
	var both sync.WaitGroup
	both.Go(func() { l.deliver(ctx, to, from, &l.forward) })
	l.deliver(ctx, from, to, &l.back)
	both.Wait()
}

// deliver carries the bytes of one direction. open is the direction's field.
func (l *Link) deliver(ctx context.Context, to, from net.Conn, open *bool) {
	// The peer of a connection that ends must see that it has ended.
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !l.pass(ctx, open) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			// The end of a connection travels like its bytes.
			if errors.Is(err, io.EOF) {
				l.pass(ctx, open)
			}
			return
		}
	}
}

// pass waits until the direction is open, and then for the delay. It reports false
// if the link goes down or ctx ends.
func (l *Link) pass(ctx context.Context, open *bool) bool {
	waited := false
	for {
		l.mu.Lock()
		now, down, delay, changed := *open, l.down, l.delay, l.changed
		l.mu.Unlock()
		if down {
			return false
		}
		var late <-chan time.Time
		if now {
			if delay == 0 || waited {
				return true
			}
			late = time.After(delay)
		}
		select {
		case <-late:
			waited = true
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// keep records a connection, unless the link is down.
func (l *Link) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		l.conns[conn] = struct{}{}
	}
	return !l.down
}

func (l *Link) drop(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// change changes the link's state.
func (l *Link) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Cut stops delivery in both directions.
func (l *Link) Cut() { l.change(func() { l.forward, l.back = false, false }) }

// CutForward stops delivery from the program that connects; the other direction
// still works.
func (l *Link) CutForward() { l.change(func() { l.forward = false }) }

// CutBack stops delivery to the program that connects; the other direction still
// works.
func (l *Link) CutBack() { l.change(func() { l.back = false }) }

// Slow delays the bytes of each read by a time. Zero removes the delay.
func (l *Link) Slow(delay time.Duration) { l.change(func() { l.delay = delay }) }

// Down closes all connections and refuses new ones, or stops doing so.
func (l *Link) Down(down bool) {
	l.change(func() {
		l.down = down
		for conn := range l.conns {
			if down {
				_ = conn.Close()
			}
		}
	})
}

// Mend makes the link deliver again, in both directions and without delay.
func (l *Link) Mend() {
	l.change(func() { l.forward, l.back, l.down, l.delay = true, true, false, 0 })
}
