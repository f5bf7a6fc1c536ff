//go:build !linux

package gateway

import "net"

// setUserTimeout does nothing where there is no TCP_USER_TIMEOUT.
func setUserTimeout(*net.TCPConn) {}
