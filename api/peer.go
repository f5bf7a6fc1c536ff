package api

import (
	"context"
	"net"
)

// localActor is who gives commands over the local socket. Whoever can open it
// is the operator; which of several people that was, the socket cannot tell.
const localActor = "operator:local"

type peerKey struct{}

// withPeer notes for each request of a connection who is at its other end.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok && trustedPeer(u) {
		return context.WithValue(ctx, peerKey{}, localActor)
	}
	return ctx
}

// actorOf is who makes a request; empty when that is not known, and then
// nothing is answered.
func actorOf(ctx context.Context) string {
	actor, _ := ctx.Value(peerKey{}).(string)
	return actor
}
