package server

import (
	"context"
	"net"

	"github.com/postern-im/postern/internal/limit"
)

// localActor is who gives commands over the local socket. Whoever can open it
// is the operator; which of several people that was, the socket cannot tell.
const localActor = "operator:local"

// withPeer notes for each request of a connection who is at its other end.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return withCaller(ctx, caller{source: limit.SourceOf(c.RemoteAddr()).String(), network: true})
	}
	source, trusted := peerOf(u)
	if !trusted {
		return withCaller(ctx, caller{source: source})
	}
	return withCaller(ctx, caller{actor: localActor, source: source, operator: true})
}
