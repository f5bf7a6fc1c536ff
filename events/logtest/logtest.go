// Package logtest is the conformance suite that every event log must pass,
// whether one node's Pebble or JetStream orders it.
//
// Run tests a log's promises on a working machine, RunFaults on a failing one.
// Both are for tests only, and know a log only through the interface Log.
package logtest

import (
	"context"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/postern-im/postern/events"
)

// A Log is the part of a log that the suite uses. Its errors are those of
// package events.
type Log interface {
	// LogID returns 32 hex digits, which never change during the log's life.
	LogID() string
	// Head returns the newest position and its hash.
	Head() (events.Position, [32]byte)
	// Append writes all commits or none. When it returns nil they are durable
	// and are as readers will read them; otherwise they are unchanged.
	Append(ctx context.Context, head events.Position, commits ...*events.Commit) error
	// Read calls fn with the commits from a position to the head at the time of
	// the call. A commit is valid until fn returns; to keep it, clone it.
	Read(ctx context.Context, from events.Position, fn func(*events.Commit) error) error
	ByCommand(tenant, commandID string) (events.Commit, bool, error)
	// Wait waits until the head is past a position, which the head must have
	// reached already.
	Wait(ctx context.Context, after events.Position) (events.Position, error)
	// Verify checks everything that the log can check by itself.
	Verify(ctx context.Context) error
	Close() error
}

// A Place is where one log lives. It opens the log, also again after it was
// closed. At first the log is empty.
type Place func() (Log, error)

// Run runs the suite. Each test asks for its own place; the place cleans up
// with t.Cleanup.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Place)
	}{
		{"empty", testEmpty},
		{"append", testAppend},
		{"several at once", testSeveral},
		{"conflict", testConflict},
		{"duplicate command", testDuplicate},
		{"refused commits", testRefused},
		{"tenants apart", testTenants},
		{"read", testRead},
		{"read while appending", testReadWhileAppending},
		{"wait", testWait},
		{"concurrent appenders", testConcurrent},
		{"reopen", testReopen},
		{"close", testClose},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newPlace(t)) })
	}
	t.Run("log ids differ", func(t *testing.T) {
		a, b := open(t, newPlace(t)), open(t, newPlace(t))
		if a.LogID() == b.LogID() {
			t.Error("two logs have one id")
		}
	})
}

// open opens a log and closes it at the end of the test, unless the test has
// closed it.
func open(t *testing.T, place Place) Log {
	t.Helper()
	l, err := place()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, events.ErrClosed) {
			t.Error(err)
		}
	})
	return l
}

// mustAppend appends at the head.
func mustAppend(t *testing.T, l Log, commits ...*events.Commit) {
	t.Helper()
	head, _ := l.Head()
	if err := l.Append(t.Context(), head, commits...); err != nil {
		t.Fatal(err)
	}
}

// contents returns the whole log from a position.
func contents(t *testing.T, l Log, from events.Position) []events.Commit {
	t.Helper()
	got, err := readAll(t.Context(), l, from)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func readAll(ctx context.Context, l Log, from events.Position) ([]events.Commit, error) {
	var got []events.Commit
	err := l.Read(ctx, from, func(c *events.Commit) error {
		got = append(got, c.Clone())
		return nil
	})
	return got, err
}

// same compares a log's commits with the expected ones.
func same(t *testing.T, got, want []events.Commit) {
	t.Helper()
	if diff := firstDifference(got, want); diff != "" {
		t.Fatal(diff)
	}
}

// checkHolds checks in every way of reading that a log holds exactly these
// commits.
func checkHolds(t *testing.T, l Log, want []events.Commit) {
	t.Helper()
	same(t, contents(t, l, 1), want)
	position, hash := l.Head()
	if position != events.Position(len(want)) {
		t.Fatalf("the head is at %d of %d", position, len(want))
	}
	if len(want) > 0 && hash != events.Hash(events.AppendCommit(nil, &want[len(want)-1])) {
		t.Fatal("the head's hash is not the newest record's")
	}
	for _, c := range want {
		got, found, err := l.ByCommand(c.Tenant, c.CommandID)
		if err != nil || !found || !reflect.DeepEqual(got, c) {
			t.Fatalf("by command %q of %q: %+v, %v, %v; want %+v", c.CommandID, c.Tenant, got, found, err, c)
		}
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func testEmpty(t *testing.T, place Place) {
	l := open(t, place)
	if id, err := hex.DecodeString(l.LogID()); err != nil || len(id) != 16 {
		t.Errorf("log id %q", l.LogID())
	}
	if p, hash := l.Head(); p != 0 || hash != [32]byte{} {
		t.Errorf("head %d, %x", p, hash)
	}
	for from := range events.Position(2) {
		if got := contents(t, l, from); len(got) != 0 {
			t.Errorf("from %d: %v", from, got)
		}
	}
	if err := l.Read(t.Context(), 2, nil); !errors.Is(err, events.ErrNoSuchPosition) {
		t.Errorf("read from 2: %v", err)
	}
	if _, found, err := l.ByCommand("acme", "1"); found || err != nil {
		t.Errorf("by command: %v, %v", found, err)
	}
	if err := l.Append(t.Context(), 0); err != nil {
		t.Errorf("append nothing: %v", err)
	}
	checkHolds(t, l, nil)
}

func testReopen(t *testing.T, place Place) {
	a := newAuthor(7)
	var want []events.Commit
	var id string
	for range 4 {
		l := open(t, place)
		if id == "" {
			id = l.LogID()
		}
		if l.LogID() != id {
			t.Fatalf("log id %s became %s", id, l.LogID())
		}
		checkHolds(t, l, want)
		for range 50 {
			batch := a.batch()
			mustAppend(t, l, batch...)
			want = appendAll(want, batch)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	checkHolds(t, open(t, place), want)
}

func testClose(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(8)
	mustAppend(t, l, a.commit("acme"))
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Wait(t.Context(), 1)
		waiting <- err
	}()
	// Close from within a read must not wait for the read that it ends.
	closed := make(chan error, 1)
	err := l.Read(t.Context(), 1, func(*events.Commit) error {
		go func() { closed <- l.Close() }()
		return <-waiting // by now Close has begun
	})
	if !errors.Is(err, events.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	_, _, byCommand := l.ByCommand("acme", "1")
	_, wait := l.Wait(t.Context(), 1)
	for name, err := range map[string]error{
		"append":     l.Append(t.Context(), 1, a.commit("acme")),
		"read":       l.Read(t.Context(), 1, func(*events.Commit) error { return nil }),
		"by command": byCommand,
		"wait":       wait,
		"verify":     l.Verify(t.Context()),
		"close":      l.Close(),
	} {
		if !errors.Is(err, events.ErrClosed) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
}
