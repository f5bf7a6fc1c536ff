package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCleanKeepsTheTerminalSafe: no name can move the cursor, change colours, or
// reverse the direction of the text after it.
func TestCleanKeepsTheTerminalSafe(t *testing.T) {
	for s, want := range map[string]string{
		"plain":           "plain",
		"grüße 😀":         "grüße 😀",
		"two\nlines":      "two\nlines",
		"\x1b[31mred":     `\x1b[31mred`,
		"a\rb":            `a\rb`,
		"a\u202eb":        `a\u202eb`,
		"a\u200bb":        `a\u200bb`,
		"nul\x00":         `nul\x00`,
		"broken \xff end": "broken \ufffd end",
	} {
		if got := clean(s); got != want {
			t.Errorf("clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestTableAligns(t *testing.T) {
	table := &table{}
	table.add("A", "B", "C")
	table.add("long name", "x", "")
	table.add("ü", "line\nbreak", "y")
	var b strings.Builder
	table.write(&b)
	want := "A          B           C\nlong name  x\nü          line break  y\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestWriteWhole: writeWhole creates a file or replaces it. It does not write
// through a symbolic link, and leaves no other file behind.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	name, link, other := filepath.Join(dir, "a"), filepath.Join(dir, "link"), filepath.Join(dir, "other")
	if err := errors.Join(os.WriteFile(other, []byte("mine"), 0o600), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		over bool
		want error
	}{
		{name, false, nil}, {name, false, fs.ErrExist}, {name, true, nil},
		{link, false, fs.ErrExist}, {link, true, nil},
		{filepath.Join(dir, "none", "a"), false, fs.ErrNotExist}, {filepath.Join(dir, "none", "a"), true, fs.ErrNotExist},
	} {
		if err := writeWhole(c.name, []byte("new"), c.over); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for name, want := range map[string]string{name: "new", link: "new", other: "mine"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestWriteWholeForWhom: a new file gets the permissions of the umask, and a
// replacement the permissions of the old file.
func TestWriteWholeForWhom(t *testing.T) {
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	name := filepath.Join(t.TempDir(), "a")
	for i, step := range []struct {
		over bool
		mode fs.FileMode // set on the file before, unless zero
		want fs.FileMode
	}{{false, 0, 0o600}, {true, 0, 0o600}, {true, 0o640, 0o640}, {true, 0o400, 0o400}} {
		if step.mode != 0 {
			if err := os.Chmod(name, step.mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeWhole(name, []byte("new"), step.over); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != step.want {
			t.Errorf("step %d: %v, want %v (%v)", i, info.Mode().Perm(), step.want, err)
		}
	}
}
