package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bashWords calls the completion as bash does. Its arguments are the line, and the
// words as COMP_WORDBREAKS splits them.
const bashWords = `
source "$SCRIPT"
COMP_LINE=$1 COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_policyctl
printf '%s\n' "${COMPREPLY[@]}"`

// TestCompletionInBash runs bash with the completion script, at a real node.
func TestCompletionInBash(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "policyctl")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script := filepath.Join(dir, "completion")
	if err := os.WriteFile(script, []byte(completionBash), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := startPolicyd(t)
	for _, args := range [][]string{
		{"tenant", "create", "acme"}, {"tenant", "create", "globex"}, {"domain", "add", "alpha.test", "-t", "acme"},
		{"role", "define", "lab:kiosk", "-t", "acme"}, {"role", "define", "lab:screen", "-t", "acme"},
		{"member", "set-role", "bob@alpha.test", "lab:kiosk"}, {"member", "set-role", "b$(id)@alpha.test", "lab:kiosk"},
		{"gateway", "add", "edge1"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append([]string{"--socket", socket}, args...), nil, &out, &errOut); code != exitDone {
			t.Fatalf("%q: exit %d: %s", args, code, errOut.String())
		}
	}
	for _, c := range []struct {
		socket string
		words  string // separated by |; a blank precedes each word that does not begin with ^
		want   []string
	}{
		{socket, "ten", []string{"tenant"}},
		{socket, "tenant|cr", []string{"create"}},
		{socket, "tenant|show|", []string{"acme", "globex"}},
		{socket, "tenant|show|a", []string{"acme"}},
		{socket, "role|show|-t|acme|lab|^:|^", []string{"kiosk", "screen"}},
		{socket, "role|show|-t|acme|lab|^:|^k", []string{"kiosk"}},
		{socket, "member|show|bob|^@|^al", []string{"alpha.test"}},
		{socket, "member|show|b", []string{"bob@alpha.test"}}, // not b$(id), which a shell would run
		{socket, "domain|remove|", []string{"alpha.test"}},
		{socket, "gateway|remove|", []string{"edge1"}},
		{socket, "gateway|add|", []string{""}},
		{socket, "session|list|--gateway|e", []string{"edge1"}},
		{socket, "completion|", []string{"bash", "fish", "zsh"}},
		{socket, "tenant|list|--js", []string{"--json"}},
		{socket, "--color|^=|^al", []string{"always"}},
		{socket, "role|define|x|-t|acme|-i|lab|^:|^kiosk,l", []string{"kiosk,lab:screen"}},
		{socket, "role|define|x|-a|xmpp|^:|^federate,xmpp|^:|^requests|^:|^r", []string{"read"}},
		{"/nonexistent", "tenant|show|", []string{""}},
	} {
		line, words := program, []string{program}
		for word := range strings.SplitSeq(c.words, "|") {
			joined, found := strings.CutPrefix(word, "^")
			if !found {
				line += " "
			}
			line += joined
			words = append(words, joined)
		}
		command := exec.CommandContext(t.Context(), "bash", append([]string{"--norc", "-c", bashWords, "bash", line}, words...)...)
		command.Env = append(os.Environ(), "SCRIPT="+script, "POSTERN_SOCKET="+c.socket)
		out, err := command.CombinedOutput()
		got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		slices.Sort(got)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q (%v)", c.words, got, c.want, err)
		}
	}
}

// TestManualReads: the page has the commands, and roff does not take any line of
// text for a request.
func TestManualReads(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"man"}, nil, &out, &errOut); code != exitDone {
		t.Fatal(errOut.String())
	}
	for _, want := range []string{`.SS "tenant create`, `.SS "test`, ".SH EXIT STATUS", ".B POSTERN_SERVER", ".B POSTERN_TOKEN\n", ".B POSTERN_TOKEN_FILE", ".B POSTERN_CA"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	for line := range strings.Lines(out.String()) {
		if line[0] == '\'' || line[0] == '.' && !slices.Contains([]string{".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BR", ".I", ".RI", ".in", ".nf", ".fi"}, strings.Fields(line)[0]) {
			t.Errorf("request %q", line)
		}
	}
}
