//go:build !linux

package api

import "net"

// trustedPeer trusts the modes of socket and folder, which let nobody else in.
func trustedPeer(*net.UnixConn) bool { return true }
