//go:build !linux

package server

import "net"

// peerOf trusts the modes of socket and folder, which let nobody else in.
func peerOf(*net.UnixConn) (source string, trusted bool) { return "unix", true }
