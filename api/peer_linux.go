package api

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// trustedPeer reports whether the other process runs as root or as the user
// of this one (SO_PEERCRED, unix(7)). The modes of socket and folder say the
// same; this holds when somebody has changed them.
func trustedPeer(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return false
	}
	return cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
}
