package stream_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-im/postern/xmpp/stream"
)

var update = flag.Bool("update", false, "rewrite the expected outcomes under testdata")

// scenario is one case of a file under testdata: a line "== name", options,
// input lines "> …" (with Go escapes, joined without line ends), and the
// expected outcome.
type scenario struct {
	name    string
	options []string
	in      []string
	want    string
}

func (s scenario) input(t testing.TB) []byte {
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.Join(s.in, ""), `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%s: input: %v", s.name, err)
	}
	return []byte(text)
}

func (s scenario) config(t testing.TB) (c stream.Config, header bool) {
	for _, o := range s.options {
		name, value, _ := strings.Cut(o, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "header":
			header = true
		case "lenient":
			c.Lenient = true
		case "bytes":
			c.Limits.Bytes = n
		case "refused":
			c.Limits.Refused = n
		case "depth":
			c.Limits.Depth = n
		case "attrs":
			c.Limits.Attrs = n
		case "elements":
			c.Limits.Elements = n
		case "nodes":
			c.Limits.Nodes = n
		case "namespaces":
			c.Limits.Namespaces = n
		case "totalattrs":
			c.Limits.TotalAttrs = n
		default:
			t.Fatalf("%s: unknown option %q", s.name, o)
		}
	}
	return c, header
}

// readScenarios reads a file. head is the text before the first scenario.
func readScenarios(t testing.TB, path string) (head string, all []scenario) {
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "== "); ok {
			all = append(all, scenario{name: name})
			continue
		}
		if len(all) == 0 {
			head += line + "\n"
			continue
		}
		s := &all[len(all)-1]
		if in, ok := strings.CutPrefix(line, "> "); ok {
			s.in = append(s.in, in)
		} else if options, ok := strings.CutPrefix(line, "with "); ok {
			s.options = strings.Fields(options)
		} else if line != "" {
			s.want += line + "\n"
		}
	}
	return head, all
}

func allScenarios(t testing.TB) (all []scenario) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range paths {
		_, s := readScenarios(t, path)
		all = append(all, s...)
	}
	return all
}

// TestScenarios feeds every scenario in three ways: whole, byte by byte, and cut
// once at every offset. All must give the outcome in the file.
func TestScenarios(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	for _, path := range paths {
		head, all := readScenarios(t, path)
		var rewritten strings.Builder
		rewritten.WriteString(head)
		for _, s := range all {
			c, header := s.config(t)
			in := s.input(t)
			got := outcome(stream.NewFramer(c), header, in, whole)
			if *update {
				fmt.Fprintf(&rewritten, "== %s\n", s.name)
				if len(s.options) > 0 {
					fmt.Fprintf(&rewritten, "with %s\n", strings.Join(s.options, " "))
				}
				for _, line := range s.in {
					fmt.Fprintf(&rewritten, "> %s\n", line)
				}
				fmt.Fprintf(&rewritten, "%s\n", got)
			} else if got != s.want {
				t.Errorf("%s: %s: got\n%swant\n%s", path, s.name, got, s.want)
			}
			if d := disagreement(c, header, in); d != "" {
				t.Errorf("%s: %s: %s", path, s.name, d)
			}
		}
		if *update {
			if err := os.WriteFile(path, []byte(rewritten.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
