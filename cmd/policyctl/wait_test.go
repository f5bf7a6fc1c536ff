package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
)

// A clerk answers in the place of a node of a cluster: commands, and a list of answers
// to the question whether a position is enforced.
type clerk struct {
	mu       sync.Mutex // guards the fields below
	takes    bool       // commands take something away
	enforced []any      // an api.Enforced or an *api.Error, for each request in turn
	asked    int
}

func (c *clerk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var answer any
	switch {
	case r.Method == http.MethodPost:
		answer = api.Result{CommandID: "one", Changed: true, Position: 7, TenantVersion: 2, TakesAway: c.takes, Warnings: []string{}}
	case r.URL.Path == "/v1/enforced" && len(c.enforced) > 0:
		answer = c.enforced[0]
		c.enforced = c.enforced[1:]
		c.asked++
	default:
		answer = &api.Error{Code: api.CodeNotFound, Text: "there is nothing at this path"}
	}
	if e, failed := answer.(*api.Error); failed {
		w.WriteHeader(http.StatusServiceUnavailable)
		answer = api.ErrorBody{Error: e}
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(err)
	}
}

// TestWait runs a command against a node of a cluster. With --wait, and by default if
// the command takes something away, policyctl waits until the change is enforced.
func TestWait(t *testing.T) {
	node := func(name string, took int64) api.EnforcedNode {
		if took < 0 {
			return api.EnforcedNode{Node: name}
		}
		return api.EnforcedNode{Node: name, Reported: true, TookMicros: &took}
	}
	pending := api.Enforced{Position: 7, By: "pending", TookMicros: 2_000_000, Nodes: []api.EnforcedNode{node("n1", 0), node("n2", 1800), node("n3", -1)}}
	reported := api.Enforced{Position: 7, Enforced: true, By: "reported", TookMicros: 3_141, MarginMicros: 1_000_000, Nodes: []api.EnforcedNode{node("n1", 0), node("n2", 1800), node("n3", 3141)}}
	bound := api.Enforced{Position: 7, Enforced: true, By: "bound", TookMicros: 20_000_000, Nodes: pending.Nodes}
	old := &api.Error{Code: api.CodeNotFound, Text: "there is nothing at this path"}
	const done = "bob@alpha.test suspended: its sessions end (position 7)\n"
	const byAll = "enforced everywhere at position 7, reported by all nodes: n1 after 0s, n2 after 1.8ms, n3 after 3.1ms; verdicts asked for before are used for at most 1s\n"
	for _, c := range []struct {
		name     string
		takes    bool
		flags    string
		enforced []any
		code     int
		out      string // of standard output
		err      string // in standard error
	}{
		{"by default", true, "", []any{reported}, exitDone, done + byAll, ""},
		{"not by default", false, "", nil, exitDone, done, ""},
		{"asked for", false, "--wait", []any{reported}, exitDone, done + byAll, ""},
		{"turned off", true, "--wait=false", nil, exitDone, done, ""},
		{"later", true, "", []any{pending, pending, bound}, exitDone, done + "enforced everywhere at position 7, because no verdict is used for longer than 20s; not reported by n3; reported by n1 after 0s, n2 after 1.8ms\n", ""},
		{"a node that is not ready", true, "", []any{&api.Error{Code: api.CodeBehind, Text: "wait"}, reported}, exitDone, done + byAll, ""},
		{"an old node", true, "--wait", []any{old}, exitWait, done, "the change was made (position 7), but it is not known to be enforced on all nodes: there is nothing at this path\nRepeat the command"},
		{"an old node, in JSON", true, "--wait --json", []any{old}, exitWait, `"takes_away": true`, `{"error":{"code":"wait","text":"the change was made (position 7)`},
		{"in JSON", true, "--json", []any{pending, reported}, exitDone, `"by": "reported",`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			clerk := &clerk{takes: c.takes, enforced: c.enforced}
			server := httptest.NewServer(clerk)
			defer server.Close()
			token, _, _ := api.NewToken()
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errOut bytes.Buffer
			args := append(strings.Fields("--server "+server.URL+" --token-file "+file+" member suspend bob@alpha.test -t acme"), strings.Fields(c.flags)...)
			code := run(t.Context(), args, nil, &out, &errOut)
			same := out.String() == c.out
			if strings.Contains(c.flags, "--json") {
				same = strings.Contains(out.String(), c.out) && json.Valid(out.Bytes())
			}
			if code != c.code || !same || !strings.Contains(errOut.String(), c.err) || c.err == "" && errOut.Len() > 0 {
				t.Errorf("exit %d\n%s\n%s", code, out.String(), errOut.String())
			}
			if len(clerk.enforced) > 0 || clerk.asked != len(c.enforced) {
				t.Errorf("asked %d times, want %d", clerk.asked, len(c.enforced))
			}
		})
	}
}

// TestWaitingFor: while it waits, policyctl shows the nodes that have not reported.
func TestWaitingFor(t *testing.T) {
	e := &api.Enforced{Position: 7, Nodes: []api.EnforcedNode{{Node: "n1", Reported: true}, {Node: "n2"}, {Node: "n3"}}}
	if got := waitingFor(e, 3400e6); got != "waiting until position 7 is enforced on all nodes, 3s so far; not reported yet: n2, n3" {
		t.Error(got)
	}
	if got := fmt.Sprint(micros(1234), micros(20_049_000), micros(0)); got != "1.2ms 20s 0s" {
		t.Error(got)
	}
}
