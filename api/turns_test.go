package api_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
)

// A slowLog takes its time with one tenant's commits.
type slowLog struct {
	api.Log
	tenant string
	begun  chan struct{}
	goOn   chan struct{}

	mu        sync.Mutex // guards what follows
	now, most int        // readings of that tenant
}

func (l *slowLog) Tenant(ctx context.Context, tenant string, from events.Position, fn func(*events.Commit) error) error {
	if tenant == l.tenant {
		l.count(1)
		defer l.count(-1)
		l.begun <- struct{}{}
		select {
		case <-l.goOn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l.Log.Tenant(ctx, tenant, from, fn)
}

// count counts readings that begin, or end.
func (l *slowLog) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += n
	l.most = max(l.most, l.now)
}

// TestTurns: a tenant that looks at its long past, again and again and by
// several tokens, keeps neither another tenant nor an operator waiting.
func TestTurns(t *testing.T) {
	const asked = 6
	slow := &slowLog{tenant: "long", begun: make(chan struct{}, asked), goOn: make(chan struct{})}
	r := startIn(t, t.TempDir(), nil, func(l api.Log) api.Log { slow.Log = l; return slow })
	server, _ := r.network(t, false)
	for _, id := range []string{"long", "other"} {
		r.do(t, id, api.TenantCreate{DisplayName: id})
	}
	arrived := r.arrivals()
	var group sync.WaitGroup
	for i := range asked {
		token, _ := r.mint(t, "read", "long", 0)
		c := remote(t, server, token, nil)
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
	<-slow.begun
	token, _ := r.mint(t, "read", "other", 0)
	operator, _ := r.mint(t, "operator", "", 0)
	for name, c := range map[string]*api.Client{
		"another tenant": remote(t, server, token, nil), "an operator": remote(t, server, operator, nil), "the local socket": r.client,
	} {
		if was, err := c.At(fmt.Sprint(2)).Tenant(t.Context(), "other"); err != nil || was.Name != "other" {
			t.Errorf("%s: %+v, %v", name, was, err)
		}
	}
	close(slow.goOn)
	group.Wait()
	if slow.most != 1 {
		t.Errorf("%d foldings of one tenant at once", slow.most)
	}
}
