package server

import (
	"context"
	"net"

	"github.com/postern-im/postern/internal/limit"
)

// localActor is the actor of all commands over the local socket. Every process that
// may use the socket is an operator's. The socket cannot tell several people apart.
const localActor = "operator:local"

// withPeer adds the caller to the context of a connection. Over the network, the
// caller is unknown until authenticate has checked its token.
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
