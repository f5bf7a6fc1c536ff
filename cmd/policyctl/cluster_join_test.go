package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
)

// joining is the answer of a node that joins. A negative age means that it has no proof.
func joining(age time.Duration, position, decides uint64) *api.Cluster {
	n := api.ClusterNode{Node: "n3", Position: position, Hash: "ff", Decides: decides}
	if age >= 0 {
		n.ProofAgeMicros = new(age.Microseconds())
	}
	return &api.Cluster{Clustered: true, Node: "n3", Name: "acme", Nodes: []api.ClusterNode{{Node: "n1"}, n}}
}

// TestJoinWait shows answers of a node one after the other.
func TestJoinWait(t *testing.T) {
	var w joinWait
	stopped := joining(0, 7, 7)
	stopped.Nodes[1].Stopped = true
	behind := joining(-1, 7, 0)
	behind.Nodes[1].Lag = 3
	for i, c := range []struct {
		answer *api.Cluster
		err    error
		reason string
		done   bool
		failed string
	}{
		{nil, &net.OpError{Err: os.NewSyscallError("connect", syscall.ENOENT)}, "policyd does not serve yet", false, ""},
		{nil, fmt.Errorf("dial: %w", syscall.ECONNREFUSED), "policyd does not serve yet", false, ""},
		{nil, &api.Error{Code: api.CodeUnavailable, Text: "later"}, "later", false, ""},
		{nil, errors.New("no answer"), "no answer", false, ""},
		{nil, fmt.Errorf("dial: %w", fs.ErrPermission), "", false, "permission denied"},
		{nil, &api.Error{Code: api.CodeForbidden, Text: "you may not"}, "", false, "you may not"},
		{&api.Cluster{Node: "n3"}, nil, "", false, "stand-alone"},
		{&api.Cluster{Clustered: true, Node: "n3"}, nil, "does not know itself yet", false, ""},
		{stopped, nil, "", false, "has stopped for good at position 7"},
		{behind, nil, "at position 7, and 3 commits behind", false, ""},
		{joining(-1, 10, 10), nil, "no proof yet", false, ""},
		{joining(time.Minute, 10, 10), nil, "no proof yet", false, ""},
		{joining(time.Second, 10, 4), nil, "decides from position 4, and its log is at 10", false, ""},
		{joining(time.Second, 12, 9), nil, "decides from position 9", false, ""},
		{joining(time.Second, 14, 10), nil, "", true, ""},
	} {
		w.reason = ""
		done, err := w.look(c.answer, c.err)
		if (done != nil) != c.done || (err != nil) != (c.failed != "") || err != nil && !strings.Contains(err.Error(), c.failed) || !strings.Contains(w.reason, c.reason) {
			t.Errorf("%d: %+v, %v, %q", i, done, err, w.reason)
		}
	}
}

// TestClusterJoin waits for a node whose socket does not exist when the wait begins.
func TestClusterJoin(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	join := func(timeout string) (int, string, string) {
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{"--socket", socket, "--timeout", timeout, "cluster", "join"}, nil, &out, &errOut)
		return code, out.String(), errOut.String()
	}
	if code, out, errOut := join("10ms"); code != exitError || out != "" || !strings.Contains(errOut, "the node does not follow its cluster after 10ms: policyd does not serve yet") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	type result struct {
		code        int
		out, errOut string
	}
	done := make(chan result, 1)
	go func() {
		code, out, errOut := join("30s")
		done <- result{code, out, errOut}
	}()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan *api.Cluster, 2)
	answers <- joining(-1, 5, 0)
	answers <- joining(0, 7, 7)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(<-answers); err != nil {
			panic(err)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if r := <-done; r.code != exitDone || r.out != "node n3 has joined the cluster acme and follows it, at position 7\n" || r.errOut != "" {
		t.Errorf("%+v", r)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
