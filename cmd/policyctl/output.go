package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// clean makes a text safe for a terminal. It escapes characters that are not
// printable, so that no name can move the cursor or hide the text after it.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// jsonTo returns an encoder that writes one JSON value a line to w. It does not
// escape <, > and &.
func jsonTo(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// print writes one answer to standard output: v as JSON with --json, otherwise
// the text that the function text writes.
func (a *app) print(v any, text func(w io.Writer)) error {
	if a.json {
		e := jsonTo(a.out)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	p := &page{look: a.look}
	text(p)
	_, err := io.WriteString(a.out, p.String())
	return err
}

// writeWhole writes a file completely or not at all. With over it replaces an
// existing file; a symbolic link itself is replaced, not its target. Without
// over, an existing name is an error. A new file gets the permissions of the
// umask. A replacement keeps the permissions of the old file, because a policy
// names people and must not become readable to more users.
func writeWhole(name string, text []byte, over bool) error {
	to := name
	if over {
		to = filepath.Join(filepath.Dir(name), ".new-"+rand.Text())
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if old, gone := os.Lstat(name); over && gone == nil && old.Mode().IsRegular() {
		err = f.Chmod(old.Mode().Perm())
	}
	if err == nil {
		_, err = f.Write(text)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil && over {
		err = os.Rename(to, name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(to))
	}
	return err
}

// orNone joins names with commas. It returns "-" for none.
func orNone(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func number[T ~int | ~uint64](n T) string { return fmt.Sprint(n) }
