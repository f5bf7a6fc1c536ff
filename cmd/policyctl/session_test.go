package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// within bounds every wait of a test. A test reaches it only if something hangs.
const within = 60 * time.Second

// programs is the folder of the programs that are built for the tests.
var programs string

// buildPolicyd builds the policy node once for all sessions.
var buildPolicyd = sync.OnceValues(func() (string, error) {
	name := filepath.Join(programs, "policyd")
	out, err := exec.Command("go", "build", "-o", name, "../policyd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	var errs []error
	// The tester's environment must not change the output.
	for _, name := range []string{"POSTERN_SOCKET", "POSTERN_TENANT", "POSTERN_SERVER", "POSTERN_TOKEN", "POSTERN_TOKEN_FILE", "POSTERN_CA", "COLUMNS"} {
		errs = append(errs, os.Unsetenv(name))
	}
	dir, err := os.MkdirTemp("", "policyctl")
	if err := errors.Join(append(errs, err)...); err != nil {
		panic(err)
	}
	programs = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// startPolicyd runs the real policyd until the test ends, and returns its socket.
func startPolicyd(t testing.TB, environ ...string) string {
	t.Helper()
	program, err := buildPolicyd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "run", "s")
	var log bytes.Buffer
	node := exec.Command(program)
	node.Stderr = &log
	node.Env = append(os.Environ(),
		"POSTERN_POLICYD_DATA="+filepath.Join(dir, "data"),
		"POSTERN_POLICYD_ADMIN_SOCKET="+socket,
		"POSTERN_POLICYD_NATS_LISTEN=127.0.0.1:0",
		"POSTERN_POLICYD_LISTEN_HTTP=",
		"POSTERN_POLICYD_NATS_GATEWAYS=", // registering one would add a commit at an uncertain position
	)
	node.Env = append(node.Env, environ...)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Wait() }()
	t.Cleanup(func() {
		if err := node.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("policyd: %v\n%s", err, log.String())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	client := api.NewClient(socket)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	pause := time.NewTicker(10 * time.Millisecond)
	defer pause.Stop()
	for {
		if _, err := client.Status(ctx); err == nil {
			return socket
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("policyd has ended: %v\n%s", err, log.String())
		case <-ctx.Done():
			t.Fatalf("policyd does not answer: %s", log.String())
		case <-pause.C:
		}
	}
}

// TestSessions plays each file of testdata/sessions. A line that begins with "$ "
// is a command line. The lines after it are its output, and its exit code if that
// is not 0. Each file gets a policy node of its own.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playSession(t, startPolicyd(t), string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compareLines(t, got, string(want))
		})
	}
}

// compareLines reports the first lines that differ.
func compareLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Fatalf("line %d: nothing, want %q", i+1, w[i])
		case i >= len(w):
			t.Fatalf("line %d: %q, want nothing", i+1, g[i])
		case g[i] != w[i]:
			t.Fatalf("line %d (-update rewrites):\n got %q\nwant %q", i+1, g[i], w[i])
		}
	}
}

// playSession runs the commands of a session, and returns the session with their
// actual output. It keeps comments, and blank lines before commands.
func playSession(t *testing.T, socket, text string) string {
	t.Helper()
	var out strings.Builder
	keep := true
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
		if !ok {
			if keep || strings.HasPrefix(line, "#") {
				keep = true
				out.WriteString(line)
			}
			continue
		}
		keep = false
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n\n") && !strings.HasSuffix(s, ".\n\n") && !strings.HasPrefix(lastLine(s), "#") {
			out.WriteString("\n")
		}
		out.WriteString(line)
		out.WriteString(play(t, socket, command))
	}
	return out.String()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	return lines[len(lines)-1]
}

// play runs one command line and returns its output. It replaces text that
// differs from run to run, such as times.
func play(t *testing.T, socket, command string) string {
	t.Helper()
	words, err := splitCommand(command)
	if err != nil || len(words) == 0 || words[0] != "policyctl" {
		t.Fatalf("%q is no command line: %v", command, err)
	}
	var in io.Reader = strings.NewReader("")
	if n := len(words); n > 2 && words[n-2] == "<" {
		f, err := os.Open(filepath.Join("testdata", "sessions", words[n-1]))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, words = f, words[:n-2]
	}
	for i, word := range words {
		if name, ok := strings.CutPrefix(word, "@"); ok {
			words[i] = filepath.Join("testdata", "sessions", name)
		}
	}
	args := words[1:]
	if !strings.Contains(command, "--socket") {
		args = append([]string{"--socket", socket}, args...)
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, in, &stdout, &stderr)
	text := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		text += "! " + line
	}
	if code != exitDone {
		text += fmt.Sprintf("[exit %d]\n", code)
	}
	return normal(strings.ReplaceAll(text, socket, "SOCKET"))
}

var variable = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "YYYY-MM-DD hh:mm:ss"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "YYYY-MM-DDThh:mm:ssZ"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`(?m)^version   \S.*$`), "version   VERSION"},
	{regexp.MustCompile(`"version": "[^"]*"`), `"version": "VERSION"`},
	{regexp.MustCompile(`(?m)^(node +alone(?: +\S+){8} +)\S.*$`), "${1}VERSION"}, // the row of a stand-alone node
}

func normal(s string) string {
	for _, v := range variable {
		s = v.pattern.ReplaceAllString(s, v.word)
	}
	return s
}

// splitCommand splits a command line as a shell does. It knows only words, single
// quotes and double quotes.
func splitCommand(s string) (words []string, err error) {
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
