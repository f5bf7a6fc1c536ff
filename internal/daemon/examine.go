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

// This file looks at what a program will open, and changes nothing.

// CheckListen looks whether a program may listen at an address: it parses, and
// its host is this machine's. A free port of it is opened and closed at once;
// whether the port meant is free is not looked at, because the program that is
// to be started again may still have it.
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

// CheckFolder looks whether this process may make files in a folder; where it
// is missing, whether it may make it.
func CheckFolder(dir string) error {
	at := filepath.Clean(dir)
	for {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is no folder", at)
		}
		if err := syscall.Access(at, mayWrite|mayExecute); err != nil {
			return fmt.Errorf("user %d may not write in %s: %w", os.Geteuid(), at, err)
		}
		return nil
	}
}

// CheckAppend looks whether this process may read and append to a file; one
// that is missing is made when it is needed.
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

// CheckPrivate refuses a file or folder that others than its owner and its
// group may read. One that is missing is nobody's.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o007 != 0 {
		return fmt.Errorf("%s: everybody may read it (mode %04o): chmod o= %s", path, perm, path)
	}
	return nil
}
