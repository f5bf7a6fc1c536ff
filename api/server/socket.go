package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Who may connect to the socket is said by the file system: the folder is its
// owner's alone, so nothing can be reached, replaced or raced in it.
const (
	folderMode fs.FileMode = 0o700
	socketMode fs.FileMode = 0o600
)

// maxSocketPath is what fits a socket address (unix(7): 108 bytes with a
// final zero).
const maxSocketPath = 107

// probeTime is how long a process behind an existing socket has to accept.
const probeTime = 2 * time.Second

// Listen makes the admin socket: mode 0600, in a folder of mode 0700 that is
// made when it is missing. A socket that a dead process left behind is
// replaced; one that another process listens on, a file that is no socket and
// a folder open to others are refused. Closing the listener removes it.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, errLongPath(path)
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := checkFolder(folder); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return l, nil
}

// CheckSocket looks whether Listen can make the socket, and changes nothing. One
// that a process listens on is no obstacle: it may be the one that is to be
// started again.
func CheckSocket(path string) error {
	if len(path) > maxSocketPath {
		return errLongPath(path)
	}
	folder := filepath.Dir(path)
	if err := checkFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	if _, err := findSocket(path); err != nil {
		return fmt.Errorf("admin socket %s: %w", path, err)
	}
	return nil
}

// findSocket reports whether there is a socket at a path. A file that is no socket
// is an error.
func findSocket(path string) (found bool, err error) {
	switch info, err := os.Lstat(path); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case err == nil && info.Mode().Type() != fs.ModeSocket:
		return false, errors.New("there is a file that is not a socket; move it away or choose another path")
	default:
		return err == nil, nil
	}
}

func errLongPath(path string) error {
	return fmt.Errorf("admin socket %s: the path is longer than %d bytes, which no socket address holds", path, maxSocketPath)
}

// checkFolder refuses a folder that others may enter.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&^folderMode != 0 {
		return fmt.Errorf("folder %s has mode %04o: it must be %04o, its owner's alone (chmod 0700 %s)", folder, perm, folderMode, folder)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("folder %s belongs to user %d: it must belong to user %d, who runs this process", folder, st.Uid, os.Geteuid())
	}
	return nil
}

// removeStale removes a socket nobody listens on. Nobody else can make one
// between this and the next step but a process of the same user.
func removeStale(path string) error {
	if found, err := findSocket(path); !found {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another process listens there; stop it or choose another path"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("probe: %w", err)
	}
	return os.Remove(path)
}
