package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

func openLog(t *testing.T, c eventlog.Config) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mixed creates a log with commits of several tenants, in turn.
func mixed(t *testing.T, l *eventlog.Log, tenants []string, n int) map[string][]events.Commit {
	t.Helper()
	of := map[string][]events.Commit{}
	for i := range n {
		tenant := tenants[i%len(tenants)]
		c := testCommit(len(of[tenant]) + 1)
		c.Tenant = tenant
		if err := l.Append(t.Context(), events.Position(i), c); err != nil {
			t.Fatal(err)
		}
		of[tenant] = append(of[tenant], *c)
	}
	return of
}

func TestTenant(t *testing.T) {
	l := openLog(t, eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	tenants := []string{"a", "ab", "", "a\x00", "b"}
	of := mixed(t, l, tenants, 50)
	for _, tenant := range append(tenants, "none", "a\xff", strings.Repeat("a", 1000)) {
		for from := range events.Position(53) {
			var want []events.Commit
			for _, c := range of[tenant] {
				if c.Position >= from {
					want = append(want, c)
				}
			}
			var got []events.Commit
			err := l.Tenant(t.Context(), tenant, from, func(c *events.Commit) error {
				got = append(got, *c)
				return nil
			})
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q from %d: %d commits, %v; want %d", tenant, from, len(got), err, len(want))
			}
		}
	}
	mine := errors.New("mine")
	if err := l.Tenant(t.Context(), "a", 0, func(*events.Commit) error { return mine }); err != mine {
		t.Errorf("an error of fn: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Tenant(ctx, "a", 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if err := l.Tenant(t.Context(), "a", 1<<64-1, nil); err != nil {
		t.Errorf("from the last: %v", err)
	}
}

func TestCommit(t *testing.T) {
	l := openLog(t, eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	of := mixed(t, l, []string{"a", "b"}, 10)
	for _, tenant := range []string{"a", "b"} {
		for _, want := range of[tenant] {
			if got, err := l.Commit(want.Position); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%d: %+v, %v", want.Position, got, err)
			}
		}
	}
	for _, p := range []events.Position{0, 11, 1<<64 - 1} {
		if _, err := l.Commit(p); !errors.Is(err, events.ErrNoSuchPosition) {
			t.Errorf("%d: %v", p, err)
		}
	}
}

func TestSince(t *testing.T) {
	l := openLog(t, eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	if _, found, err := l.Since(time.Time{}); found || err != nil {
		t.Errorf("empty: %v, %v", found, err)
	}
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i, seconds := range []int{0, 10, 10, 5, 20} { // the clock is set back once
		c := testCommit(i + 1)
		c.Time = noon.Add(time.Duration(seconds) * time.Second)
		if err := l.Append(t.Context(), events.Position(i), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		seconds float64
		want    events.Position // 0: none
	}{
		{-1e9, 1}, {-1, 1}, {0, 1}, {0.000001, 4}, {5, 4}, {6, 2}, {10, 2}, {11, 5}, {20, 5}, {21, 0}, {1e9, 0},
	} {
		at := noon.Add(time.Duration(c.seconds * float64(time.Second)))
		if p, found, err := l.Since(at); p != c.want || found != (c.want != 0) || err != nil {
			t.Errorf("since %v: %d, %v, %v; want %d", at, p, found, err, c.want)
		}
	}
}

func TestReadOnly(t *testing.T) {
	fs := vfs.NewMem()
	if _, err := eventlog.Open(eventlog.Config{Dir: "log", FS: fs, ReadOnly: true}); err == nil {
		t.Error("a log that does not exist can be opened for reading")
	}
	l := openLog(t, eventlog.Config{Dir: "log", FS: fs})
	appendMore(t, l, 5)
	want := mustRead(t, l)
	id := l.LogID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, eventlog.Config{Dir: "log", FS: fs, ReadOnly: true})
	if got := mustRead(t, l); !reflect.DeepEqual(got, want) || l.LogID() != id {
		t.Errorf("it shows %d commits of log %s", len(got), l.LogID())
	}
	if err := l.Append(t.Context(), 5, testCommit(6)); err == nil {
		t.Error("it takes an append")
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOpenTwice: a log can be opened only once, on the disk too.
func TestOpenTwice(t *testing.T) {
	for _, c := range []eventlog.Config{
		{Dir: "log", FS: vfs.NewMem()},
		{Dir: filepath.Join(t.TempDir(), "log")},
	} {
		l := openLog(t, c)
		if second, err := eventlog.Open(c); err == nil {
			second.Close()
			t.Error("a second one opens it")
		}
		appendMore(t, l, 1)
	}
}

func TestLimits(t *testing.T) {
	l := openLog(t, eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	batch := func(n, size int) []*events.Commit {
		var list []*events.Commit
		for i := range n {
			c := testCommit(i + 1)
			c.Reason = strings.Repeat("a", size)
			list = append(list, c)
		}
		return list
	}
	big := events.MaxSize - 1000
	for name, list := range map[string][]*events.Commit{
		"too many":  batch(eventlog.MaxCommits+1, 1),
		"too large": batch(20, big),
	} {
		if err := l.Append(t.Context(), 0, list...); !errors.Is(err, events.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if head, _ := l.Head(); head != 0 {
		t.Fatalf("the head is at %d", head)
	}
	// The largest possible batch: Pebble writes it in another way.
	large := batch(16, big)
	if err := l.Append(t.Context(), 0, large...); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, l); len(got) != 16 || got[15].Reason != large[15].Reason {
		t.Errorf("%d commits", len(got))
	}
	many := batch(eventlog.MaxCommits, 1)
	for i, c := range many {
		c.Tenant, c.CommandID = "many", fmt.Sprint("many ", i)
	}
	if err := l.Append(t.Context(), 16, many...); err != nil {
		t.Fatal(err)
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAppendWaits blocks one append in its write, with others waiting for it.
// The waiting ones can be cancelled, and Close ends them, but Close waits for
// the append that writes.
func TestAppendWaits(t *testing.T) {
	d := newDisk(vfs.NewCrashableMem())
	l := openLog(t, eventlog.Config{Dir: "log", FS: d})
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.breakBy(func(write bool) (before, after func() error) {
		return func() error {
			once.Do(func() { close(stuck) })
			<-release
			return nil
		}, nil
	})
	first, second, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { first <- l.Append(t.Context(), 0, testCommit(1)) }()
	<-stuck
	ctx, cancel := context.WithCancel(t.Context())
	go func() { second <- l.Append(ctx, 0, testCommit(1)) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if got := mustRead(t, l); len(got) != 0 {
		t.Errorf("%d commits are shown before they are durable", len(got))
	}
	go func() { second <- l.Append(t.Context(), 0, testCommit(1)) }()
	go func() { closed <- l.Close() }()
	if err := <-second; !errors.Is(err, events.ErrClosed) {
		t.Errorf("closed meanwhile: %v", err)
	}
	select {
	case err := <-closed:
		t.Errorf("close does not wait: %v", err)
	default:
	}
	close(release)
	if err := errors.Join(<-first, <-closed); err != nil {
		t.Errorf("the one that writes: %v", err)
	}
}

func Example() {
	l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	ctx := context.Background()
	head, _ := l.Head()
	err = l.Append(ctx, head, &events.Commit{
		Tenant: "acme", TenantVersion: 1, Time: time.Now(), Actor: "operator:root", CommandID: "1",
		Events: []events.Event{
			events.TenantCreated{Name: "ACME Ltd"},
			events.RoleDefined{Name: "lab:kiosk", Inherits: []string{"prosody:guest"}, Deny: []string{"xmpp:federate"}},
		},
	})
	fmt.Println("appended:", err)
	err = l.Append(ctx, head, &events.Commit{})
	if conflict, ok := errors.AsType[*events.ConflictError](err); ok {
		fmt.Println("the head is at", conflict.Head)
	}
	err = l.Read(ctx, 1, func(c *events.Commit) error {
		for _, e := range c.Events {
			fmt.Printf("%d %s: %s\n", c.Position, c.Tenant, events.Describe(e))
		}
		return nil
	})
	fmt.Println("read:", err)
	// Output:
	// appended: <nil>
	// the head is at 1
	// 1 acme: tenant created "ACME Ltd"
	// 1 acme: role defined lab:kiosk inherits prosody:guest deny xmpp:federate
	// read: <nil>
}
