package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
	"github.com/postern-im/postern/events"
)

// A slowLog blocks the readings of some tenants' commits until goOn is closed.
type slowLog struct {
	server.Log
	slow  map[string]chan struct{} // by tenant: receives a value for each reading that begins
	first string
	goOn  chan struct{}

	mu        sync.Mutex // guards the fields below
	now, most int        // readings of the first tenant
}

func (l *slowLog) Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error {
	if begun := l.slow[tenant]; begun != nil {
		if tenant == l.first {
			l.count(1)
			defer l.count(-1)
		}
		begun <- struct{}{}
		select {
		case <-l.goOn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l.Log.Tenant(ctx, tenant, from, fn)
}

// count adds to the number of readings in progress.
func (l *slowLog) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += n
	l.most = max(l.most, l.now)
}

// TestTurns makes one tenant read its long past many times with several tokens. Other
// tenants and operators do not have to wait for it. Operators do not have to wait
// even if as many tenants as possible read their past at the same time.
func TestTurns(t *testing.T) {
	const asked = 6
	long := []string{"long", "longer"} // as many tenants as can have a turn at the same time
	slow := &slowLog{slow: map[string]chan struct{}{}, first: long[0], goOn: make(chan struct{})}
	for _, tenant := range long {
		slow.slow[tenant] = make(chan struct{}, asked)
	}
	r := startIn(t, t.TempDir(), nil, func(l server.Log) server.Log { slow.Log = l; return slow })
	address, _ := r.network(t, false)
	for _, id := range append([]string{"other"}, long...) {
		r.do(t, id, api.TenantCreate{DisplayName: id})
	}
	arrived := r.arrivals()
	var group sync.WaitGroup
	for i := range asked {
		token, _ := r.mint(t, "read", "long", 0)
		c := remote(t, address, token, nil)
		group.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = c.At("2").Tenant(t.Context(), "long")
			case 1:
				_, err = c.BlameRole(t.Context(), "long", "prosody:member", "xmpp:federate")
			default:
				_, err = c.Log(t.Context(), api.LogQuery{Tenant: "long", After: new(uint64), Actor: "nobody"})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for n := 0; n < asked; {
		if strings.HasPrefix(<-arrived, "/v1/tenants/long") {
			n++
		}
	}
	<-slow.slow[long[0]]
	token, _ := r.mint(t, "read", long[0], 0)
	plans := remote(t, address, token, nil)
	planned := make(chan error, 1)
	go func() {
		_, err := plans.Plan(t.Context(), long[0], api.TenantApply{DisplayName: "new"})
		planned <- err
		close(planned)
	}()
	token, _ = r.mint(t, "read", "other", 0)
	operator, _ := r.mint(t, "operator", "", 0)
	looks := func(who string, c *api.Client, at int) {
		if was, err := c.At(fmt.Sprint(at)).Tenant(t.Context(), "other"); err != nil || was.Name != "other" {
			t.Errorf("%s: %+v, %v", who, was, err)
		}
	}
	looks("another tenant", remote(t, address, token, nil), 1)
	token, _ = r.mint(t, "read", long[1], 0)
	second := remote(t, address, token, nil)
	group.Go(func() {
		if _, err := second.At("3").Tenant(t.Context(), long[1]); err != nil {
			t.Error(err)
		}
	})
	<-slow.slow[long[1]]
	looks("an operator", remote(t, address, operator, nil), 2) // a position whose View is not in the cache
	looks("the local socket", r.client, 3)
	if _, err := r.client.Plan(t.Context(), long[0], api.TenantApply{DisplayName: "new"}); err != nil {
		t.Errorf("an operator plans: %v", err)
	}
	select {
	case err := <-planned:
		t.Errorf("a tenant's plan does not wait for its turn: %v", err)
	default:
	}
	close(slow.goOn)
	group.Wait()
	if err := <-planned; err != nil {
		t.Error(err)
	}
	if slow.most != 1 {
		t.Errorf("%d foldings of one tenant at once", slow.most)
	}
}
