package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// A council is a cluster whose members are set by the test.
type council struct {
	mu      sync.Mutex // guards the fields below
	members []node.Member
	changed chan struct{} // made in the bubble that uses it
	// barrier is called by Barrier, without the lock. Nil: this node's state is the
	// newest.
	barrier func() (events.Position, error)
}

func newCouncil(members ...node.Member) *council { return &council{members: members} }

func (c *council) Members() ([]node.Member, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return slices.Clone(c.members), c.changed
}

func (c *council) Barrier(context.Context) (events.Position, error) {
	c.mu.Lock()
	barrier := c.barrier
	c.mu.Unlock()
	if barrier == nil {
		return 0, nil
	}
	return barrier()
}

// set replaces the members.
func (c *council) set(members ...node.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = members
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// voter returns a member that has stored a position and decides from it.
func voter(name string, p events.Position) node.Member {
	return node.Member{Node: name, Voter: true, Stored: p, Decides: p, Level: events.Level}
}

// inBubble runs a node with a real log in a synctest bubble. wrap makes the log that
// the node uses.
func inBubble(t *testing.T, c node.Cluster, wrap func(*eventlog.Log) node.Log, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		r := run(t, node.Config{Log: wrap(l), LogID: l.LogID(), Cluster: c})
		defer r.stop()
		synctest.Wait()
		test(t, r)
	})
}

func plain(l *eventlog.Log) node.Log { return l }

// TestMajority: a command is done when a majority of voters have stored its commit. If
// they have not within two seconds, the outcome is unknown, and the same command gets
// the first result later.
func TestMajority(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []node.Member // at the time of the command
		later   []node.Member // one second later
		took    time.Duration
		want    error
	}{
		{"all have it", []node.Member{voter("n1", 1), voter("n2", 1), voter("n3", 1)}, nil, 0, nil},
		{"two of three", []node.Member{voter("n1", 1), voter("n2", 0), voter("n3", 1)}, nil, 0, nil},
		{"two of three, soon", []node.Member{voter("n1", 1), voter("n2", 0), voter("n3", 0)}, []node.Member{voter("n1", 1), voter("n2", 7), voter("n3", 0)}, time.Second, nil},
		{"one of three", []node.Member{voter("n1", 1), voter("n2", 0), voter("n3", 0)}, nil, 2 * time.Second, events.ErrUnknown},
		{"half of four", []node.Member{voter("n1", 1), voter("n2", 1), voter("n3", 0), voter("n4", 0)}, nil, 2 * time.Second, events.ErrUnknown},
		{"no votes", []node.Member{voter("n1", 1), {Node: "n2", Stored: 1}, {Node: "n3", Stored: 1}, voter("n4", 0), voter("n5", 0)}, nil, 2 * time.Second, events.ErrUnknown},
		{"nobody known", nil, nil, 2 * time.Second, events.ErrUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := newCouncil(c.members...)
			inBubble(t, cluster, plain, func(t *testing.T, r *rig) {
				if c.later != nil {
					time.AfterFunc(time.Second, func() { cluster.set(c.later...) })
				}
				began := time.Now()
				create := command("acme", "create", tenants.CreateTenant{})
				result, err := r.Execute(t.Context(), create)
				if took := time.Since(began); took != c.took || !errors.Is(err, c.want) {
					t.Errorf("%+v, %v after %v", result, err, took)
				}
				cluster.set(voter("n1", 1), voter("n2", 1))
				if again, err := r.Execute(t.Context(), create); err != nil || !again.Changed || again.Position != 1 {
					t.Errorf("again: %+v, %v", again, err)
				}
			})
		})
	}
}

// TestOldMembers: a command is refused if a member cannot read its events, and the
// refusal names the member. A command with older events is run.
func TestOldMembers(t *testing.T) {
	old := voter("n2", 9)
	old.Level = events.LevelOf(events.TokenRevoked{}) // before shared services
	unheard := node.Member{Node: "n4", Voter: true}
	cluster := newCouncil(voter("n1", 9), old, voter("n3", 9), unheard)
	inBubble(t, cluster, plain, func(t *testing.T, r *rig) {
		share := command("", "share", tenants.AddSharedService{Service: "push.test"})
		_, err := r.Execute(t.Context(), share)
		refused, ok := errors.AsType[tenants.Errors](err)
		if !ok || refused[0].Code != tenants.Conflict || !strings.Contains(refused.Error(), "upgrade node n2 first") {
			t.Errorf("%v", err)
		}
		if first := r.do("acme", "create", tenants.CreateTenant{}); first.Position != 1 {
			t.Errorf("%+v", first)
		}
		cluster.set(voter("n1", 9), voter("n2", 9), voter("n3", 9), unheard)
		if _, err := r.Execute(t.Context(), share); err != nil {
			t.Errorf("after the upgrade: %v", err)
		}
	})
}

// TestNothingToDo: a node whose state is not the newest must not answer that there is
// nothing to do. Another node has resumed an account that this node still knows as
// suspended; a command to suspend it must do so.
func TestNothingToDo(t *testing.T) {
	cluster := newCouncil(voter("n1", 99), voter("n2", 99))
	var log *eventlog.Log
	keep := func(l *eventlog.Log) node.Log { log = l; return l }
	inBubble(t, cluster, keep, func(t *testing.T, r *rig) {
		r.do("acme", "create", tenants.CreateTenant{})
		if suspended := r.do("acme", "suspend", tenants.SuspendTenant{}); suspended.Position != 2 {
			t.Fatalf("%+v", suspended)
		}
		cluster.barrier = func() (events.Position, error) {
			resume := events.Commit{
				Tenant: "acme", TenantVersion: 3, Time: time.Now(), Actor: "operator:n2", CommandID: "resume",
				Events: []events.Event{events.TenantResumed{}},
			}
			if head, _ := log.Head(); head == 2 {
				if err := log.Append(context.Background(), head, &resume); err != nil {
					return 0, err
				}
			}
			head, _ := log.Head()
			return head, nil
		}
		again, err := r.Execute(t.Context(), command("acme", "again", tenants.SuspendTenant{}))
		if err != nil || !again.Changed || again.Position != 4 {
			t.Errorf("%+v, %v", again, err)
		}
		if v := r.View(); !v.Tenant([]byte("acme")).Suspended() {
			t.Error("the tenant is not suspended")
		}
		// A refusal needs the newest state too.
		cluster.barrier = func() (events.Position, error) { return 0, context.DeadlineExceeded }
		_, err = r.Execute(t.Context(), command("acme", "create again", tenants.CreateTenant{}))
		if _, refused := errors.AsType[tenants.Errors](err); err == nil || refused {
			t.Errorf("without the newest state: %v", err)
		}
	})
}

// A stuckLog is a log of a cluster that does not order appends while stuck is set. An
// append then waits for its context. If happens is set, the append is ordered
// nevertheless.
type stuckLog struct {
	*eventlog.Log
	mu      sync.Mutex // guards the fields below
	stuck   bool
	happens bool
	appends int
}

func (l *stuckLog) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	l.mu.Lock()
	l.appends++
	stuck, happens := l.stuck, l.happens
	l.mu.Unlock()
	if !stuck {
		return l.Log.Append(ctx, at, commits...)
	}
	<-ctx.Done()
	if happens {
		if err := l.Log.Append(context.Background(), at, commits...); err != nil {
			return err
		}
	}
	return events.ErrUnknown
}

func (l *stuckLog) set(stuck, happens bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stuck, l.happens, l.appends = stuck, happens, 0
}

// TestUnknownOutcome: if the outcome of an append is unknown, every command of the
// group is told so, and none is tried on its own. The same commands sent again have
// the first result if the append happened, and are run once if it did not.
func TestUnknownOutcome(t *testing.T) {
	for _, happens := range []bool{false, true} {
		t.Run(fmt.Sprint("happens=", happens), func(t *testing.T) {
			var l *stuckLog
			inBubble(t, nil, func(e *eventlog.Log) node.Log { l = &stuckLog{Log: e}; return l }, func(t *testing.T, r *rig) {
				l.set(true, happens)
				began := time.Now()
				blocker := make(chan error, 1)
				go func() {
					_, err := r.Execute(t.Context(), command("first", "create", tenants.CreateTenant{}))
					blocker <- err
				}()
				synctest.Wait()
				<-time.After(time.Second) // the next commands have more time left than the first one
				errs := make(chan error, 3)
				group := func() {
					for i := range cap(errs) {
						go func() {
							_, err := r.Execute(t.Context(), command(fmt.Sprint("t", i), "create", tenants.CreateTenant{}))
							errs <- err
						}()
					}
				}
				group()
				if err := <-blocker; !errors.Is(err, events.ErrUnknown) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the first command: %v", err)
				}
				synctest.Wait()
				for range cap(errs) {
					// If the first command happened, the group meets it, and is certainly
					// not in the log.
					if err := <-errs; !errors.Is(err, events.ErrUnknown) && !errors.Is(err, context.DeadlineExceeded) && !(happens && errors.Is(err, node.ErrBusy)) {
						t.Errorf("a command of the group: %v", err)
					}
				}
				if took := time.Since(began); took != 46*time.Second {
					t.Errorf("answered after %v", took)
				}
				l.mu.Lock()
				if l.appends != 2 {
					t.Errorf("%d appends for one command and a group of three", l.appends)
				}
				l.mu.Unlock()
				l.set(false, false)
				group()
				for range cap(errs) {
					if err := <-errs; err != nil {
						t.Errorf("sent again: %v", err)
					}
				}
				want := events.Position(3)
				if happens {
					want++ // the first command's
				}
				if head, _ := l.Head(); head != want {
					t.Errorf("the log is at %d, want %d", head, want)
				}
			})
		})
	}
}

// TestBehindAStuckAppend: commands that wait behind an append that cannot finish are
// told after their time that nothing was done, and the queue has room again. The
// node's end does not wait for the append.
func TestBehindAStuckAppend(t *testing.T) {
	var l *stuckLog
	inBubble(t, nil, func(e *eventlog.Log) node.Log { l = &stuckLog{Log: e}; return l }, func(t *testing.T, r *rig) {
		l.set(true, false)
		const waiting, inAGroup = 256, 64
		execute := func(errs chan<- error, n int) {
			for i := range n {
				go func() {
					_, err := r.Execute(context.Background(), command(fmt.Sprint("t", i), "create", tenants.CreateTenant{}))
					errs <- err
				}()
			}
			synctest.Wait()
		}
		first, behind, over := make(chan error, 1), make(chan error, waiting), make(chan error, 9)
		execute(first, 1)
		<-time.After(time.Second)
		began := time.Now()
		execute(behind, waiting)
		execute(over, cap(over))
		for range cap(over) {
			if err := <-over; !errors.Is(err, node.ErrBusy) {
				t.Errorf("a command for which the queue has no room: %v", err)
			}
		}
		// The first group has a second to append. The writer may take one more at the
		// very end of the commands' time.
		unclear := 0
		for range waiting {
			if err := <-behind; err == nil {
				t.Error("a command that waited was run")
			} else if !errors.Is(err, node.ErrBusy) {
				unclear++
			}
		}
		if took := time.Since(began); took != 45*time.Second || unclear < inAGroup || unclear > 2*inAGroup {
			t.Errorf("answered after %v; for %d of %d commands the outcome is unknown", took, unclear, waiting)
		}
		if err := <-first; errors.Is(err, node.ErrBusy) {
			t.Errorf("the stuck command: %v", err)
		}
		l.set(false, false)
		if result := r.do("acme", "create", tenants.CreateTenant{}); result.Position != 1 {
			t.Errorf("after the outage: %+v", result)
		}
		l.set(true, false)
		execute(first, 1)
		synctest.Wait()
		began = time.Now()
		if err := r.stop(); err != nil || time.Since(began) > 0 {
			t.Errorf("stopped with %v after %v", err, time.Since(began))
		}
		<-first
	})
}

// A rivalLog lets another writer append before each of the first appends of the node.
type rivalLog struct {
	*eventlog.Log
	first int
}

func (l *rivalLog) Append(ctx context.Context, at events.Position, commits ...*events.Commit) error {
	if l.first > 0 {
		l.first--
		id := fmt.Sprint("rival", l.first)
		if err := l.Log.Append(ctx, at, &events.Commit{Position: at + 1, Tenant: id, TenantVersion: 1, Time: time.Now(), Actor: "rival", CommandID: id, Events: []events.Event{events.TenantCreated{Name: "x"}}}); err != nil {
			return err
		}
	}
	return l.Log.Append(ctx, at, commits...)
}

// TestManyConflicts: a command is run although other writers are first many times.
func TestManyConflicts(t *testing.T) {
	inBubble(t, nil, func(e *eventlog.Log) node.Log { return &rivalLog{e, 200} }, func(t *testing.T, r *rig) {
		if result := r.do("acme", "create", tenants.CreateTenant{}); result.Position != 201 {
			t.Errorf("%+v", result)
		}
	})
}
