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

// The file system restricts access to the socket. Only the owner may enter the
// folder, so no other user can reach or replace the socket, or race with Listen.
const (
	folderMode fs.FileMode = 0o700
	socketMode fs.FileMode = 0o600
)

// maxSocketPath bounds the path in a socket address (unix(7): 108 bytes, including
// the final zero).
const maxSocketPath = 107

// probeTime bounds the attempt to connect to an existing socket.
const probeTime = 2 * time.Second

// Listen makes the admin socket with mode 0600. It makes the folder with mode 0700 if
// there is none. It replaces a socket that a dead process left behind. It refuses a
// socket on which another process listens, a file that is not a socket, and a folder
// that other users may enter. Closing the listener removes the socket.
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

// CheckSocket checks whether Listen can make the socket, and changes nothing. It
// allows a socket on which a process listens, because this process may be the one
// about to be restarted.
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

// findSocket reports whether there is a socket at a path. A file that is not a socket
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

// errLongPath returns the error for a path that is too long.
func errLongPath(path string) error {
	return fmt.Errorf("admin socket %s: the path is longer than %d bytes and does not fit into a socket address", path, maxSocketPath)
}

// checkFolder refuses a folder that other users may enter, or that belongs to
// another user.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&^folderMode != 0 {
		return fmt.Errorf("folder %s has mode %04o: it must be %04o, so that only its owner may enter (chmod 0700 %s)", folder, perm, folderMode, folder)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("folder %s belongs to user %d: it must belong to user %d, which runs this process", folder, st.Uid, os.Geteuid())
	}
	return nil
}

// removeStale removes a socket on which no process listens. After this, only a
// process of the same user or of root could make a socket there before Listen does.
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
