// Package secretfile reads files with secrets, such as the seeds of NATS keys. It
// promises that it reads no file that other users may read, because its secret may
// be known already. It writes nothing.
package secretfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxSize bounds a file with a secret, in bytes.
const maxSize = 64 << 10

// Read returns the content of a file. Only the file's owner may be able to read
// it. A credential of a systemd service is accepted too: systemd makes it root's,
// with mode 0440 or 0400, and lets the service's user read it by an access control
// list. The group's bits are then the list's mask, and the group is root's.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && !isCredential(info) {
		return nil, fmt.Errorf("%s: others may read it (mode %04o), want 0600", path, perm)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSize)
	}
	return text, err
}

// isCredential reports whether root alone can write a file and no other user is a
// member of its group: the form in which systemd hands a credential to a service.
func isCredential(info fs.FileInfo) bool {
	of, ok := info.Sys().(*syscall.Stat_t)
	return ok && of.Uid == 0 && of.Gid == 0 && info.Mode().Perm()&0o337 == 0
}
