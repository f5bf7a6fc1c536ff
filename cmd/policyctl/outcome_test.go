package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestUnknownOutcomeNamesTheCommand: if the node does not answer a change, the
// error names the command's id, so that the user can repeat it safely. A read
// has no id.
func TestUnknownOutcomeNamesTheCommand(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	silent, err := net.Listen("unix", socket) // connections succeed (in its backlog), but get no answer
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"tenant", "create", "acme"}, `command id [0-9a-f]{32}`},
		{[]string{"tenant", "create", "acme", "--command-id", "mine"}, `same --command-id`},
		{[]string{"tenant", "list"}, `did not answer in time`},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket, "--timeout", "50ms"}, c.args...), nil, &out, &errOut)
		if code != exitError || out.Len() > 0 || !regexp.MustCompile(c.want).MatchString(errOut.String()) {
			t.Errorf("%v: exit %d, %q, %q", c.args, code, out.String(), errOut.String())
		}
	}
}

// TestSetRoleKeepsSecondaryRoles: several commands set primary roles in one
// tenant at the same time. Each succeeds, and no secondary role is lost.
func TestSetRoleKeepsSecondaryRoles(t *testing.T) {
	socket := startPolicyd(t)
	ctl := func(args ...string) string {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), append([]string{"--socket", socket}, args...), nil, &out, &errOut); code != exitDone {
			t.Errorf("%v: exit %d: %s", args, code, errOut.String())
		}
		return out.String()
	}
	ctl("tenant", "create", "acme")
	ctl("domain", "add", "alpha.test", "-t", "acme")
	ctl("member", "set-role", "bob@alpha.test", "prosody:guest", "-s", "prosody:admin")
	var wg sync.WaitGroup
	for _, local := range []string{"bob", "carol", "dave"} {
		wg.Go(func() { ctl("member", "set-role", local+"@alpha.test", "prosody:member") })
	}
	wg.Wait()
	list := ctl("member", "list", "-t", "acme")
	if n := strings.Count(list, "prosody:member"); n != 3 || !strings.Contains(list, "prosody:admin") {
		t.Errorf("after all:\n%s", list)
	}
}
