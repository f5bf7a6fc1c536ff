package secretfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "seed")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o644: false, 0o604: false, 0o660: false, 0o420: false} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		text, err := Read(file)
		if (err == nil) != ok || ok && string(text) != "secret" {
			t.Errorf("mode %o: %q, %v", mode, text, err)
		}
	}
	if _, err := Read(dir); err == nil {
		t.Error("a folder was read")
	}
	if _, err := Read(filepath.Join(dir, "missing")); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(large); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a large file: %v", err)
	}
}

// An info is the state of a file that only root could make.
type info struct {
	fs.FileInfo
	mode     fs.FileMode
	uid, gid uint32
}

func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) Sys() any           { return &syscall.Stat_t{Uid: i.uid, Gid: i.gid} }
func (i info) ModTime() time.Time { return time.Time{} }

func TestIsCredential(t *testing.T) {
	for _, c := range []struct {
		mode     fs.FileMode
		uid, gid uint32
		want     bool
	}{
		{0o440, 0, 0, true},
		{0o400, 0, 0, true},
		{0o640, 0, 0, false}, // root's own file, not a credential
		{0o444, 0, 0, false},
		{0o460, 0, 0, false},
		{0o440, 1000, 0, false},
		{0o440, 0, 1000, false},
	} {
		if got := isCredential(info{mode: c.mode, uid: c.uid, gid: c.gid}); got != c.want {
			t.Errorf("%o %d:%d: %v", c.mode, c.uid, c.gid, got)
		}
	}
}
