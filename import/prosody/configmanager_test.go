package prosody

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
)

var record = flag.String("record", "", "Prosody's lib directory: let its configuration manager write what testdata/*.read says")

// unread are samples that Prosody cannot read either, because they lack files
// that their configuration needs.
var unread = []string{"family-server"}

// TestConfigurationManager compares the options read from each sample with
// those that Prosody 13's own configuration manager read, which -record writes
// down.
func TestConfigurationManager(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/etc")
	if err != nil || len(dirs) < 5 {
		t.Fatal("no testdata", err)
	}
	for _, dir := range dirs {
		if dir = filepath.Dir(dir); slices.Contains(unread, filepath.Base(dir)) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			s, _ := sample(t, dir)
			if *record != "" {
				ask(t, dir, s)
			}
			want, err := os.ReadFile(dir + ".read")
			if err != nil {
				t.Fatal(err)
			}
			c, err := evaluate(context.Background(), s, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := dump(c); got != string(want) {
				t.Errorf("got\n%s\nProsody reads\n%s", got, want)
			}
		})
	}
}

func ask(t *testing.T, dir string, s Source) {
	script, err := filepath.Abs("testdata/configmanager.lua")
	if err != nil {
		t.Fatal(err)
	}
	copied, err := filepath.Abs(filepath.Join(dir, "etc"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "lua5.4", script, path.Join(s.Root, s.File), s.Root, copied)
	cmd.Env = append(os.Environ(), "PROSODY="+*record)
	for name, value := range s.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+".read", out, 0o644); err != nil {
		t.Fatal(err)
	}
}

func dump(c *config) string {
	var all []string
	for host, options := range c.hosts {
		for option, v := range options {
			if v == lua.LNil {
				continue // same as not set
			}
			all = append(all, fmt.Sprintf("%s\x00%s = %s\n", host, option, describe(v)))
		}
	}
	slices.Sort(all)
	return strings.ReplaceAll(strings.Join(all, ""), "\x00", " ")
}
