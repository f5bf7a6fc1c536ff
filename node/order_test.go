package node_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/node"
	"github.com/postern-im/postern/tenants"
)

// A heldLog delays appends until held is closed, and counts the commits of each.
type heldLog struct {
	*eventlog.Log
	held chan struct{} // closed when appends may continue

	mu    sync.Mutex // guards sizes
	sizes []int
}

func (l *heldLog) Append(ctx context.Context, head events.Position, commits ...*events.Commit) error {
	l.mu.Lock()
	l.sizes = append(l.sizes, len(commits))
	l.mu.Unlock()
	<-l.held
	return l.Log.Append(ctx, head, commits...)
}

// TestOperatorsFirst: an operator's command waits for at most one slow command of a
// tenant, however many slow commands wait.
func TestOperatorsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := eventlog.Open(eventlog.Config{Dir: "log", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		held := &heldLog{Log: l, held: make(chan struct{})}
		close(held.held)
		r := run(t, node.Config{Log: held, LogID: l.LogID()})
		defer r.stop()
		synctest.Wait()
		create := tenants.CreateTenant{Domains: []tenants.AddDomain{{Domain: "acme.test"}}}
		if _, err := r.Execute(t.Context(), command("acme", "create", create)); err != nil {
			t.Fatal(err)
		}
		held.held, held.sizes = make(chan struct{}), nil
		positions := map[string]events.Position{}
		var mu sync.Mutex // guards positions
		var group sync.WaitGroup
		give := func(id string, c tenants.Command) {
			group.Go(func() {
				result, err := r.Execute(t.Context(), c)
				if err != nil || !result.Changed {
					t.Errorf("%s: %+v, %v", id, result, err)
				}
				mu.Lock()
				defer mu.Unlock()
				positions[id] = result.Position
			})
			synctest.Wait() // the command waits for the log or for the writer
		}
		own := tenants.Actor{Name: "token:own", Tenant: "acme"}
		for i := range 5 {
			policy := tenants.ApplyTenant(create)
			policy.DisplayName = fmt.Sprint("by policy ", i)
			give(fmt.Sprint("policy ", i), tenants.Command{Tenant: "acme", Actor: own, ID: fmt.Sprint(i), Change: policy})
		}
		give("suspension", command("acme", "suspend", tenants.SuspendMember{JID: "x@acme.test"}))
		close(held.held)
		group.Wait()
		if positions["policy 0"] != 2 || positions["suspension"] != 3 {
			t.Errorf("%v", positions)
		}
		if want := []int{1, 1, 1, 1, 1, 1}; !slices.Equal(held.sizes, want) {
			t.Errorf("appends of %v commits, want %v", held.sizes, want)
		}
	})
}
