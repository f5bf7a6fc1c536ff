package node_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// TestOneIDManyCommands: of different commands with the same id, sent at once, one
// is run. The others are refused.
func TestOneIDManyCommands(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	r.tenants()
	var done sync.WaitGroup
	var carried atomic.Int32
	for i := range 32 {
		done.Go(func() {
			result, err := r.Execute(context.Background(), command("acme", "one", tenants.SuspendMember{JID: fmt.Sprintf("u%d@acme.test", i)}))
			if err != nil {
				return
			}
			carried.Add(1)
			if m, _ := r.View().Tenant([]byte("acme")).Member(fmt.Sprintf("u%d@acme.test", i)); !m.Suspended {
				t.Errorf("u%d got %+v, and is not suspended", i, result)
			}
		})
	}
	done.Wait()
	if n := carried.Load(); n != 1 {
		t.Errorf("%d commands were answered as run", n)
	}
}

func TestExecute(t *testing.T) {
	l := openLog(t)
	r := start(t, l, l.LogID()).ready()
	first := r.do("acme", "one", tenants.CreateTenant{DisplayName: "ACME"})
	if !first.Changed || first.Position != 1 || first.TenantVersion != 1 {
		t.Errorf("first: %+v", first)
	}
	_, err := r.Execute(t.Context(), command("acme", "one", tenants.CreateTenant{DisplayName: "Other"}))
	if refused, ok := errors.AsType[*tenants.Error](err); !ok || refused.Code != tenants.Conflict {
		t.Errorf("another command of the same id: %v", err)
	}
	if again := r.do("acme", "one", tenants.CreateTenant{DisplayName: "ACME"}); !reflect.DeepEqual(again, tenants.Result{Changed: true, Position: 1, TenantVersion: 1}) {
		t.Errorf("the same id again: %+v", again)
	}
	if same := r.do("acme", "two", tenants.RenameTenant{DisplayName: "ACME"}); same.Changed || same.Position != 1 || same.TenantVersion != 1 {
		t.Errorf("a command that changes nothing: %+v", same)
	}
	if head, _ := l.Head(); head != 1 {
		t.Errorf("the log is at %d", head)
	}
	_, err = r.Execute(t.Context(), command("acme", "three", tenants.CreateTenant{}))
	if refused, ok := errors.AsType[*tenants.Error](err); !ok || refused.Code != tenants.Exists {
		t.Errorf("a tenant created twice: %v", err)
	}
	second := r.do("beta", "one", tenants.CreateTenant{})
	if second.Position != 2 || second.TenantVersion != 1 {
		t.Errorf("the same id of another tenant: %+v", second)
	}
	c, err := l.Commit(1)
	if err != nil || c.Actor != "operator:root" || c.CommandID != "one" || c.Tenant != "acme" || c.Time.IsZero() {
		t.Errorf("commit: %+v, %v", c, err)
	}
}

// A countingLog counts appends, and delays them until gate is closed.
type countingLog struct {
	node.Log
	appends atomic.Int64
	gate    chan struct{}
}

func (l *countingLog) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	l.appends.Add(1)
	<-l.gate
	return l.Log.Append(ctx, at, commits...)
}

func TestGroupCommitAndBounds(t *testing.T) {
	l := openLog(t)
	slow := &countingLog{Log: l, gate: make(chan struct{})}
	r := start(t, slow, l.LogID()).ready()
	// One command is being appended and 256 wait. A further one gets ErrBusy.
	var wg sync.WaitGroup
	var busy atomic.Int64
	execute := func(i int) {
		_, err := r.Execute(context.Background(), command(fmt.Sprintf("t%d", i), "create", tenants.CreateTenant{}))
		if errors.Is(err, node.ErrBusy) {
			busy.Add(1)
		} else if err != nil {
			t.Errorf("command %d: %v", i, err)
		}
	}
	wg.Go(func() { execute(0) })
	until(t, "the first append", func() bool { return slow.appends.Load() == 1 })
	for i := range 300 {
		wg.Go(func() { execute(i + 1) })
	}
	until(t, "the queue to overflow", func() bool { return busy.Load() == 300-256 })
	close(slow.gate)
	wg.Wait()
	if head, _ := l.Head(); head != 257 {
		t.Errorf("the log is at %d, want 257", head)
	}
	if n := slow.appends.Load(); n != 1+256/64 {
		t.Errorf("%d appends for 257 commands, want 5", n)
	}
}

// TestTwoWriters: two nodes write to one log. Each command is run once, and checked
// against the commits of the second node as well.
func TestTwoWriters(t *testing.T) {
	l := openLog(t)
	nodes := []*rig{start(t, l, l.LogID()).ready(), start(t, l, l.LogID()).ready()}
	nodes[0].do("acme", "create", tenants.CreateTenant{Domains: []tenants.AddDomain{{Domain: "acme.test"}}})
	until(t, "both nodes to know the tenant", func() bool { return nodes[1].View().Position() == 1 })
	const each = 50
	var wg sync.WaitGroup
	var won atomic.Int64
	for n, r := range nodes {
		for i := range each {
			wg.Go(func() {
				// The same id on both nodes: one commit and one result.
				result, err := r.Execute(context.Background(), command("acme", fmt.Sprint("same", i), tenants.SetMemberRoles{JID: fmt.Sprintf("u%d@acme.test", i), Role: "prosody:guest"}))
				if err != nil || !result.Changed {
					t.Errorf("node %d, command %d: %+v, %v", n, i, result, err)
				}
			})
			wg.Go(func() {
				// Different ids for one name: one command succeeds.
				_, err := r.Execute(context.Background(), command(fmt.Sprint("t", i), fmt.Sprint("from", n), tenants.CreateTenant{}))
				if err == nil {
					won.Add(1)
				} else if refused, ok := errors.AsType[*tenants.Error](err); !ok || refused.Code != tenants.Exists {
					t.Errorf("node %d, tenant %d: %v", n, i, err)
				}
			})
		}
	}
	wg.Wait()
	if head, _ := l.Head(); head != 1+2*each || won.Load() != each {
		t.Errorf("the log is at %d, want %d; %d tenants were created, want %d", head, 1+2*each, won.Load(), each)
	}
	for _, r := range nodes {
		until(t, "both nodes to see all", func() bool { return r.View().Position() == 1+2*each })
	}
}

// A failingLog returns ErrFailed from Append, after it has appended or not.
type failingLog struct {
	node.Log
	happens bool
	armed   atomic.Bool
}

func (l *failingLog) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	if !l.armed.Load() {
		return l.Log.Append(ctx, at, commits...)
	}
	if l.happens {
		if err := l.Log.Append(ctx, at, commits...); err != nil {
			return err
		}
	}
	return events.ErrFailed
}

func TestAppendFails(t *testing.T) {
	for _, happens := range []bool{false, true} {
		t.Run(fmt.Sprint("happens=", happens), func(t *testing.T) {
			l := openLog(t)
			broken := &failingLog{Log: l, happens: happens}
			r := start(t, broken, l.LogID()).ready()
			r.do("acme", "create", tenants.CreateTenant{})
			broken.armed.Store(true)
			rename := command("acme", "rename", tenants.RenameTenant{DisplayName: "New"})
			if _, err := r.Execute(t.Context(), rename); !errors.Is(err, events.ErrFailed) {
				t.Errorf("execute: %v", err)
			}
			until(t, "the node to stop", func() bool { return r.Ready() != nil })
			if err := r.stop(); !errors.Is(err, events.ErrFailed) {
				t.Errorf("run: %v, want ErrFailed, so that the process restarts", err)
			}
			again := start(t, l, l.LogID()).ready()
			result, err := again.Execute(t.Context(), rename)
			if err != nil || !reflect.DeepEqual(result, tenants.Result{Changed: true, Position: 2, TenantVersion: 2}) {
				t.Errorf("the same command after the restart: %+v, %v", result, err)
			}
			if head, _ := l.Head(); head != 2 {
				t.Errorf("the log is at %d", head)
			}
		})
	}
}

func TestStopWithCommandsWaiting(t *testing.T) {
	l := openLog(t)
	slow := &countingLog{Log: l, gate: make(chan struct{})}
	r := start(t, slow, l.LogID()).ready()
	errs := make(chan error, 10)
	for i := range 10 {
		go func() {
			_, err := r.Execute(context.Background(), command(fmt.Sprint("t", i), "create", tenants.CreateTenant{}))
			errs <- err
		}()
	}
	until(t, "an append", func() bool { return slow.appends.Load() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	close(slow.gate)
	for range 10 {
		<-errs // each command is answered, with success or an error
	}
	if err := <-stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := r.Execute(t.Context(), command("late", "create", tenants.CreateTenant{})); !errors.Is(err, node.ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

var _ node.Log = (*eventlog.Log)(nil)
