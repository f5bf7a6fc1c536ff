package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/postern-im/postern/gateway/proxyheader"
	"github.com/postern-im/postern/internal/limit"
)

// proxyTimeout bounds the wait for the header of a trusted proxy. A proxy sends
// it as soon as it has connected.
const proxyTimeout = 5 * time.Second

// trusts reports whether a peer is a trusted proxy.
func (g *Gateway) trusts(peer net.Addr) bool {
	ip, ok := limit.IP(peer)
	return ok && slices.ContainsFunc(g.config.Proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// introduced reads the PROXY header of a trusted proxy's connection and counts
// the connection towards the limits of the client's source. If it returns
// false, it has closed or refused conn and has released p.
func (g *Gateway) introduced(ctx context.Context, conn *connection, direct bool, p *place) bool {
	err := conn.introduce(ctx)
	if err != nil {
		p.leave()
		_ = conn.Conn.Close()
		if !errors.Is(err, io.EOF) { // EOF: a health check that only connects
			g.often.Say(slog.LevelWarn, "[proxy] trusted", "a proxy listed in [proxy] trusted must begin with a PROXY header (version 1 or 2): turn it on there, or take its address off the list",
				"remote", conn.Conn.RemoteAddr().String(), "err", err)
		}
		return false
	}
	reached := p.take(limit.SourceOf(conn.RemoteAddr()))
	if reached == "" {
		return true
	}
	p.leave()
	g.refuse(conn, direct, reached)
	return false
}

// introduce reads the PROXY header and does not read beyond it. It returns
// io.EOF if the peer has sent nothing at all.
func (c *connection) introduce(ctx context.Context) error {
	_ = c.Conn.SetReadDeadline(time.Now().Add(proxyTimeout))
	unhook := context.AfterFunc(ctx, func() { _ = c.Conn.SetReadDeadline(time.Unix(1, 0)) })
	defer unhook()
	var b []byte
	for {
		h, more, err := proxyheader.Parse(b)
		if err != nil {
			return err
		}
		if more == 0 {
			if h.Known() {
				c.remote, c.local = net.TCPAddrFromAddrPort(unmapped(h.Source)), net.TCPAddrFromAddrPort(unmapped(h.Destination))
			}
			return nil
		}
		have := len(b)
		b = append(b, make([]byte, more)...)
		if n, err := io.ReadFull(c.Conn, b[have:]); err != nil {
			if have+n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
				return io.EOF
			}
			return fmt.Errorf("read the PROXY header: %w", err)
		}
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// suspect is called after a negotiation has failed. It warns if the peer has
// sent a PROXY header although it is not a trusted proxy.
func (g *Gateway) suspect(conn *connection) {
	if proxyheader.Begins(conn.first[:conn.heard]) {
		g.often.Say(slog.LevelWarn, "[proxy] trusted", "a PROXY header from an address that is not listed in [proxy] trusted: list it there if it is a proxy of yours",
			"remote", conn.RemoteAddr().String())
	}
}
