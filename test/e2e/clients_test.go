//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/client"
)

// program is a real client, described in clients/README.md.
type program struct {
	name    string
	command func(t *testing.T) []string
}

var programs = []program{
	{"slixmpp", func(*testing.T) []string { return []string{"/usr/bin/python3", "-B", "clients/slixmpp_client.py"} }},
	{"xmppjs", func(*testing.T) []string { return []string{"node", "clients/xmppjs_client.js"} }},
	{"mellium", func(t *testing.T) []string { return []string{melliumProgram(t)} }},
}

// programSteps are the steps of every client, in this order.
var programSteps = []string{
	"login", "disco-info-server", "disco-items-server", "disco-info-account", "disco-items-account",
	"roster", "carbons", "presence", "archive-query", "archive-preferences", "bookmarks-pep",
	"bookmarks-private", "blocklist", "vcard-publish", "vcard-fetch", "avatar-publish", "avatar-fetch",
	"omemo-devices-publish", "omemo-bundle-publish", "omemo-devices-fetch", "omemo-bundle-fetch",
	"nick", "ping", "room-join", "room-message", "chat", "logout",
}

// securities and mechanisms are the other two dimensions of the smoke matrix.
var (
	securities = []client.Security{client.StartTLS, client.DirectTLS}
	mechanisms = []string{"SCRAM-SHA-1", "PLAIN"}
)

// builtMellium builds the Go client once for all tests.
var builtMellium = sync.OnceValues(func() (string, error) {
	file := filepath.Join(shared.dir, "mellium")
	output, err := exec.Command("go", "build", "-o", file, "./clients/mellium").CombinedOutput()
	if err != nil {
		return string(output), err
	}
	return file, nil
})

func melliumProgram(t *testing.T) string {
	t.Helper()
	file, err := builtMellium()
	if err != nil {
		t.Fatalf("build the mellium client: %v\n%s", err, file)
	}
	return file
}

// stepResult is a line of a client's report.
type stepResult struct {
	Step  string
	OK    bool
	Error string
	Note  string
}

// smokeMatrix runs every client in every combination against a target, each
// with a new account. Every step that a client does at log-in must succeed.
func smokeMatrix(t *testing.T, tg target) {
	for _, p := range programs {
		for _, security := range securities {
			for _, mechanism := range mechanisms {
				t.Run(p.name+"/"+string(security)+"/"+mechanism, func(t *testing.T) {
					t.Parallel()
					smoke(t, tg, p, security, mechanism)
				})
			}
		}
	}
}

// smoke runs one client with a new account of alpha.test and checks its report.
func smoke(t *testing.T, tg target, p program, security client.Security, mechanism string) {
	a := newAccount(t, tg.server, p.name, "alpha.test")
	results, stderr, failed := runProgram(t, tg, p, a, security, mechanism)
	for i, r := range results {
		if i >= len(programSteps) || r.Step != programSteps[i] {
			t.Errorf("step %d is %q", i+1, r.Step)
		}
		if !r.OK {
			t.Errorf("%s: %s", r.Step, r.Error)
		}
		if r.Note != "" {
			t.Logf("%s: %s", r.Step, r.Note)
		}
	}
	if len(results) != len(programSteps) {
		t.Errorf("the client did %d of %d steps", len(results), len(programSteps))
	}
	if failed != nil {
		t.Errorf("the client ended with: %v", failed)
	}
	if t.Failed() {
		t.Logf("the client's errors:\n%s", stderr)
	}
}

// runProgram runs a client to its end. It returns the report, the standard
// error, and the exit error, nil for status 0.
func runProgram(t *testing.T, tg target, p program, a account, security client.Security, mechanism string) (
	results []stepResult, errors string, failed error,
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host, port, err := net.SplitHostPort(tg.address(security))
	if err != nil {
		t.Fatal(err)
	}
	command := append(p.command(t), "--jid", a.jid, "--password", a.password, "--host", host, "--port", port,
		"--mode", string(security), "--mech", mechanism, "--ca", tg.caFile,
		"--room", unique("room")+"@muc.alpha.test")
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore")
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed = cmd.Run()
	decoder := json.NewDecoder(&stdout)
	for decoder.More() {
		var r stepResult
		if err := decoder.Decode(&r); err != nil {
			t.Fatalf("decode the client's report after %v: %v\n%s", results, err, stderr.String())
		}
		results = append(results, r)
	}
	return results, stderr.String(), failed
}
