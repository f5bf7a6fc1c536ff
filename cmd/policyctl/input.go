package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/postern-im/postern/tenants/policyfile"
)

// readFile reads a file that the user named. It reads at most one byte more than
// a policy file may have; the parser then refuses the text as too long. Only
// regular files are read, because a read from a pipe or device may never end.
// O_NONBLOCK keeps the opening of such a file from blocking.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, notRegular(name, info)
	}
	return bounded(name, f)
}

func bounded(name string, in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, policyfile.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return text, nil
}

func notRegular(name string, info fs.FileInfo) error {
	if info.IsDir() {
		return fmt.Errorf("%s is a directory: name a file", name)
	}
	return fmt.Errorf("%s is not a regular file: name one", name)
}

// readInput reads a file, or standard input for "-".
func readInput(a *app, name string) (text []byte, err error) {
	if name == "-" {
		text, err = bounded("standard input", a.in)
	} else {
		text, err = readFile(name)
	}
	if err != nil {
		return nil, &usageError{err}
	}
	return text, nil
}

// onlyRegular is a file system that opens regular files and directories only.
// Pipes and devices are refused, because opening one may block.
type onlyRegular struct{ fs.FS }

// Open implements fs.FS.
func (o onlyRegular) Open(name string) (fs.File, error) {
	info, err := fs.Stat(o.FS, name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: notRegular(name, info)}
	}
	if err != nil {
		return nil, err
	}
	return o.FS.Open(name)
}
