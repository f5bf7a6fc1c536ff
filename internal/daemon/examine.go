package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// This file checks the files and addresses that a program will open. It changes
// no file.

// CheckListen returns an error if a program cannot listen at an address because
// the address does not parse or its host is not an address of this machine. It
// listens at a free port of that host for a moment. It does not check the port
// in the address, because a running instance of the program may have it open.
func CheckListen(address string) error {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	a.Port = 0
	l, err := net.ListenTCP("tcp", a)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return l.Close()
}

// The modes of access(2).
const (
	mayExecute = 1
	mayWrite   = 2
	mayRead    = 4
)

// Existing returns a folder, or its nearest parent that exists.
func Existing(dir string) string {
	at := filepath.Clean(dir)
	for {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(at) == at {
			return at
		}
		at = filepath.Dir(at)
	}
}

// CheckFolder returns an error if this process may not create files in a
// folder. If the folder is missing, it returns an error if this process may
// not create the folder.
func CheckFolder(dir string) error {
	at := Existing(dir)
	info, err := os.Stat(at)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", at)
	}
	if err := syscall.Access(at, mayWrite|mayExecute); err != nil {
		return fmt.Errorf("user %d may not write in %s: %w", os.Geteuid(), at, err)
	}
	return nil
}

// CheckAppend returns an error if this process may not read and append to a file.
// A missing file is no error, because the program will create it.
func CheckAppend(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder, not a file", path)
	}
	if err := syscall.Access(path, mayRead|mayWrite); err != nil {
		return fmt.Errorf("user %d may not write %s: %w", os.Geteuid(), path, err)
	}
	return nil
}

// CheckPrivate returns an error if users other than the owner and the group may
// access a file or folder. A missing file is no error.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o007 != 0 {
		return fmt.Errorf("%s: every user may access it (mode %04o): chmod o= %s", path, perm, path)
	}
	return nil
}
