package main

import (
	"strings"
	"testing"
)

// TestCleanKeepsTheTerminalSafe: no name moves the cursor, changes colours or
// turns the direction of what stands behind it.
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
