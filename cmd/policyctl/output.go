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

// clean makes a text safe for a terminal: what is not printable is escaped,
// so that no name can move the cursor or hide what stands behind it.
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

// jsonTo writes JSON, a value a line, with <, > and & as they are.
func jsonTo(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// print writes one answer: v as JSON where that was asked for, else what text
// writes.
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

// writeWhole writes a file that comes to be whole or not at all. What has its
// name is replaced, a symbolic link itself and not what it points to, or with
// over unset is an error. Who may read it is what the umask says, or who might
// read the file that it replaces: a policy names people.
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

// orNone is a list in words.
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
