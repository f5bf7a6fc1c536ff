package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
)

// A cutter forwards connections to a socket. cut closes them all.
type cutter struct {
	mu    sync.Mutex // guards the field below
	conns []net.Conn
}

func (c *cutter) serve(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", to)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, in, out)
		c.mu.Unlock()
		go func() { _, _ = io.Copy(out, in); out.Close() }()
		go func() { _, _ = io.Copy(in, out); in.Close() }()
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// TestFollow: log --follow shows each command once and in order, although its
// connection is cut again and again. When it is interrupted, it exits with 0.
func TestFollow(t *testing.T) {
	socket := startPolicyd(t)
	front := filepath.Join(filepath.Dir(socket), "front.sock")
	l, err := net.Listen("unix", front)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := new(cutter)
	go c.serve(l, socket)
	defer c.cut()

	client := api.NewClient(socket)
	defer client.Close()
	give := func(name string) uint64 {
		t.Helper()
		r, err := client.Do(t.Context(), "acme", api.RoleDefine{Role: name}, api.CommandMeta{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Position
	}
	if _, err := client.Do(t.Context(), "acme", api.TenantCreate{}, api.CommandMeta{}); err != nil {
		t.Fatal(err)
	}
	give("before")

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--socket", front, "--json", "log", "-t", "acme", "--follow", "-n", "1"}, nil, write, io.Discard)
		write.Close()
		done <- code
	}()
	lines := bufio.NewReader(read)
	next := func() uint64 {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		var e api.LogEntry
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return e.Position
	}
	if p := next(); p != 2 {
		t.Fatalf("the newest is %d, want 2", p)
	}
	for i := range 12 {
		want := give("role" + string(rune('a'+i)))
		if i%3 == 0 {
			c.cut()
		}
		if got := next(); got != want {
			t.Fatalf("got position %d, want %d", got, want)
		}
		if i%3 == 1 {
			c.cut()
		}
	}
	interrupt()
	if code := <-done; code != exitDone {
		t.Errorf("interrupted: exit %d", code)
	}
}

// TestFollowOfAnotherLog: after a restore, positions mean other commits. log
// --follow then ends with an error; otherwise it could silently skip commits.
func TestFollowOfAnotherLog(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The second log, which replaces the first one, is longer.
	sockets := []string{startPolicyd(t), startPolicyd(t)}
	for i, socket := range sockets {
		client := api.NewClient(socket)
		for _, id := range []string{"acme", "beta", "gamma", "delta"}[:2+2*i] {
			if _, err := client.Do(ctx, id, api.TenantCreate{}, api.CommandMeta{}); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
	}
	front := filepath.Join(filepath.Dir(sockets[0]), "front.sock")
	c := new(cutter)
	listen := func(to string) net.Listener {
		t.Helper()
		l, err := net.Listen("unix", front)
		if err != nil {
			t.Fatal(err)
		}
		go c.serve(l, to)
		return l
	}
	first := listen(sockets[0])
	defer c.cut()

	read, write := io.Pipe()
	done := make(chan int, 1)
	var said strings.Builder
	go func() {
		code := run(ctx, []string{"--socket", front, "--json", "log", "--follow"}, nil, write, &said)
		write.Close()
		done <- code
	}()
	lines := bufio.NewReader(read)
	for range 2 {
		if _, err := lines.ReadBytes('\n'); err != nil {
			t.Fatal(err)
		}
	}
	first.Close()
	c.cut()
	defer listen(sockets[1]).Close()
	if line, err := lines.ReadString('\n'); err != io.EOF {
		t.Errorf("got %s, %v: it follows the other log", line, err)
		read.Close()
		cancel()
	}
	if code := <-done; code != exitError || !strings.Contains(said.String(), "another log") {
		t.Errorf("exit %d: %s", code, said.String())
	}
}
