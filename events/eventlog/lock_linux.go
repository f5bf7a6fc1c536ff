package eventlog

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// lockHolder returns the other process that holds Pebble's lock on a folder, 0
// if there is none or this process cannot see it. A process that holds the lock
// itself must not call it: closing the file releases the lock (fcntl(2)).
func lockHolder(dir string) int {
	f, err := os.Open(filepath.Join(dir, "LOCK"))
	if err != nil {
		return 0
	}
	defer f.Close()
	spec := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &spec); err != nil || spec.Type == syscall.F_UNLCK {
		return 0
	}
	return int(spec.Pid)
}
