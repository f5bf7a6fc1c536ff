//go:build !linux

package gateway

import "net"

// setUserTimeout does nothing: this system has no TCP_USER_TIMEOUT.
func setUserTimeout(*net.TCPConn) {}
