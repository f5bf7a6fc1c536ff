package server

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerOf returns the name of the peer process and reports whether the process may
// administer the node: it must run as root or as this process's user (SO_PEERCRED,
// unix(7)). The modes of the socket and its folder enforce the same rule. This check
// still enforces it if the modes were changed.
func peerOf(c *net.UnixConn) (source string, trusted bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "unix", false
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return "unix", false
	}
	return fmt.Sprintf("unix uid=%d pid=%d", cred.Uid, cred.Pid), cred.Uid == 0 || int(cred.Uid) == os.Geteuid()
}
