package server

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerOf names the other process and reports whether it may administer the
// node: whether that process runs as root or as the user
// of this one (SO_PEERCRED, unix(7)). The modes of socket and folder say the
// same; this holds when somebody has changed them.
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
