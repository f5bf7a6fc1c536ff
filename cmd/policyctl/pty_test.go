package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// onTerminal runs a command line on a real terminal with so many columns. It
// types the text typed, and returns everything that the terminal shows.
func onTerminal(t *testing.T, columns uint16, typed string, args ...string) (string, int) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	if _, err := master.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	seen := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with EIO when the terminal is closed
		seen <- string(text)
	}()
	code := run(t.Context(), args, terminal, terminal, terminal)
	if err := terminal.Close(); err != nil {
		t.Error(err)
	}
	return <-seen, code
}

// TestOnATerminal: the output has the terminal's width and colours, and the user
// is asked for confirmation.
func TestOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, name := range []string{"NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"} {
		t.Setenv(name, "")
	}
	cases := []string{"test", "testdata/sessions/cases/demo.test.toml", "-v"}
	for _, columns := range []uint16{60, 80, 120} {
		out, code := onTerminal(t, columns, "", append(cases, "--color=never")...)
		if code != exitDone || strings.Contains(out, "\x1b") {
			t.Fatalf("exit %d: %q", code, out)
		}
		for line := range strings.SplitSeq(out, "\r\n") {
			if n := ruler().StringWidth(line); n > int(columns) {
				t.Errorf("%d columns on %d: %q", n, columns, line)
			}
		}
	}
	if out, _ := onTerminal(t, 80, "", cases...); !strings.Contains(out, "\x1b[32mok\x1b[0m") {
		t.Errorf("no colours: %q", out)
	}
	remove := []string{"--socket", "/nonexistent/s", "tenant", "remove", "acme"}
	if out, code := onTerminal(t, 80, "acne\n", remove...); code != exitError || !strings.Contains(out, "Type acme to confirm: ") || !strings.Contains(out, "nothing was done") {
		t.Errorf("exit %d: %q", code, out)
	}
	if out, code := onTerminal(t, 80, "acme\n", remove...); code != exitError || !strings.Contains(out, "No policyd listens") {
		t.Errorf("exit %d: %q", code, out)
	}
}
