package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

var asOf = regexp.MustCompile(`"at":\{"position":\d+,"time":"[^"]*"\},?`)

// pastReads are reads of a tenant with a member, a role and two domains.
var pastReads = []string{
	"", "/domains", "/domains/alpha.test", "/services", "/roles", "/roles/helper", "/roles/prosody:registered",
	"/members", "/members/bob@alpha.test", "/members/nobody@alpha.test",
}

// TestPastIsWhatWas reads two tenants after each of many commands. At the end it
// reads them again at each of those positions, and the answers must be the same.
func TestPastIsWhatWas(t *testing.T) {
	r := start(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	type answer struct {
		status int
		body   string
	}
	then := map[string]answer{} // by path and position
	var last uint64
	step := func(tenant string) api.Command {
		// The steps are few and of equal weight, so that most are tried.
		domain := map[string]string{"own": "alpha.test", "other": "beta.test"}[tenant]
		bob := "bob@" + domain
		return []api.Command{
			api.DomainAdd{Domain: domain}, api.DomainRemove{Domain: domain}, api.DomainAdd{Domain: "x" + domain},
			api.RoleDefine{Role: "helper", Inherits: []string{"prosody:guest"}, Deny: []string{"xmpp:requests:read"}},
			api.RoleDefine{Role: "helper", Allow: []string{"own:thing"}},
			api.RoleRemove{Role: "helper"}, api.MemberSet{JID: bob, Role: "helper"}, api.MemberSet{JID: bob, Role: "prosody:guest"},
			api.MemberRemove{JID: bob}, api.MemberSuspend{JID: bob}, api.MemberResume{JID: bob},
			api.TenantSuspend{}, api.TenantResume{}, api.DomainSetDefaultRole{Domain: domain, Role: "prosody:guest"},
			api.RoleAdjust{Role: "prosody:registered", Remove: []string{"xmpp:federate"}},
			api.TenantSetCeiling{Permissions: []string{"xmpp:account:omemo:write"}}, api.TenantSetLimits{MaxSessions: 300}, api.ServiceAdd{Service: "rooms." + domain},
			api.TenantRename{DisplayName: fmt.Sprint(rng.IntN(100))},
		}[rng.IntN(18)]
	}
	r.do(t, "own", api.TenantCreate{Domains: []api.DomainAdd{{Domain: "alpha.test"}}})
	r.do(t, "other", api.TenantCreate{Domains: []api.DomainAdd{{Domain: "beta.test"}}})
	for range 120 {
		tenant := []string{"own", "other"}[rng.IntN(2)]
		command := step(tenant)
		if rng.IntN(8) == 0 { // share a service that a tenant could have
			service := []string{"rooms.alpha.test", "push.test"}[rng.IntN(2)]
			tenant, command = "", []api.Command{api.SharedServiceAdd{Service: service}, api.SharedServiceRemove{Service: service}}[rng.IntN(2)]
		}
		result, err := r.client.Do(t.Context(), tenant, command, api.CommandMeta{})
		if err != nil || !result.Changed {
			continue // refused, or it changed nothing
		}
		last = result.Position
		for _, path := range pastReads {
			status, body := r.get(t, "/v1/tenants/own"+path)
			then[fmt.Sprintf("%s?at=%d", path, last)] = answer{status, body}
		}
	}
	if last < 40 {
		t.Fatalf("only %d commands changed something", last)
	}
	for path, want := range then {
		status, body := r.get(t, "/v1/tenants/own"+path)
		if status == http.StatusOK && !asOf.MatchString(body) {
			t.Fatalf("%s does not say when: %s", path, body)
		}
		if got := asOf.ReplaceAllString(body, ""); status != want.status || got != want.body {
			t.Fatalf("%s: %d\n%swant %d\n%s", path, status, got, want.status, want.body)
		}
	}
}

// TestMoments checks the answers about moments at which the tenant did not exist,
// and about invalid moments.
func TestMoments(t *testing.T) {
	r := start(t, nil)
	before := time.Now().Add(-time.Hour)
	r.do(t, "early", api.TenantCreate{})
	r.do(t, "acme", acme())
	r.do(t, "acme", api.TenantRename{DisplayName: "second"})
	r.do(t, "acme", api.TenantRemove{})
	for _, c := range []struct {
		at   string
		code api.Code
		want string
	}{
		{"1", api.CodeNotFound, `tenant "acme" did not exist yet at position 1`},
		{"4", api.CodeNotFound, `tenant "acme" was already removed at position 4`},
		{"5", api.CodeNotFound, "no position 5 yet: the newest is 4"},
		{"0", api.CodeBadRequest, "there is no position 0"},
		{before.UTC().Format(time.RFC3339), api.CodeNotFound, "the log has no commit as old as"},
		{"soon", api.CodeBadRequest, "is not a moment"},
		{"", api.CodeNotFound, `no tenant "acme"`},
	} {
		_, err := r.client.At(c.at).Tenant(t.Context(), "acme")
		if e := new(api.Error); !asError(err, &e) || e.Code != c.code || !strings.Contains(e.Text, c.want) {
			t.Errorf("at %q: %v", c.at, err)
		}
	}
	if _, err := r.client.At("3").Tenant(t.Context(), "never"); err == nil || !strings.Contains(err.Error(), `no tenant "never"`) {
		t.Errorf("a tenant that never was: %v", err)
	}
	// A removed tenant can be read at an earlier moment, by position and by time.
	third, err := r.client.Log(t.Context(), api.LogQuery{Tenant: "acme", Since: "3", Until: "3"})
	if err != nil || len(third.Entries) != 1 {
		t.Fatalf("position 3: %+v, %v", third, err)
	}
	for _, at := range []string{"3", third.Entries[0].Time.Format(time.RFC3339Nano)} {
		was, err := r.client.At(at).Tenant(t.Context(), "acme")
		if err != nil || was.Name != "second" || was.At == nil || was.At.Position != 3 || !was.At.Time.Equal(third.Entries[0].Time) {
			t.Errorf("at %s: %+v, %v", at, was, err)
		}
	}
	e, err := r.client.At("3").Explain(t.Context(), "acme", api.ExplainRequest{Account: "x@alpha.test", Permission: "xmpp:federate"})
	if err != nil || e.At == nil || e.Position != 3 || !slices.Equal(e.Missing, []string{"xmpp:federate"}) { // the default role is prosody:guest
		t.Errorf("explain: %+v, %v", e, err)
	}
}

// TestBlame checks which command is blamed for a permission, including accounts
// without an entry and permissions outside the catalogue.
func TestBlame(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", api.TenantCreate{})
	r.do(t, "acme", api.DomainAdd{Domain: "alpha.test"})
	defined, err := r.client.Do(t.Context(), "acme",
		api.RoleDefine{Role: "r", Inherits: []string{"prosody:registered"}, Allow: []string{"acme:own"}}, api.CommandMeta{Reason: "why not"})
	if err != nil {
		t.Fatal(err)
	}
	set := r.do(t, "acme", api.MemberSet{JID: "bob@alpha.test", Role: "r"})
	r.do(t, "acme", api.TenantRename{DisplayName: "acme"})
	r.do(t, "acme", api.MemberSet{JID: "carol@alpha.test", Role: "r"})
	denied := r.do(t, "acme", api.RoleDefine{Role: "r", Allow: []string{"acme:own"}, Deny: []string{"xmpp:federate"}})
	suspended := r.do(t, "acme", api.MemberSuspend{JID: "bob@alpha.test"})
	for _, c := range []struct {
		jid, permission, at string
		by                  uint64
		held, beginning     bool
		event               string
	}{
		{"bob@alpha.test", "xmpp:federate", "", denied.Position, false, false, "role_defined"},
		{"bob@alpha.test", "xmpp:federate", fmt.Sprint(denied.Position - 1), 2, true, true, "domain_added"},
		{"bob@alpha.test", "acme:own", "", suspended.Position, false, false, "member_suspended"},
		{"bob@alpha.test", "acme:own", fmt.Sprint(denied.Position), set.Position, true, false, "member_roles_set"},
		{"nobody@alpha.test", "xmpp:federate", "", 2, true, true, "domain_added"},
		{"nobody@alpha.test", "acme:own", "", 2, false, true, "domain_added"},
	} {
		b, err := r.client.At(c.at).BlameMember(t.Context(), "acme", c.jid, c.permission)
		if err != nil {
			t.Errorf("%s %s: %v", c.jid, c.permission, err)
			continue
		}
		if b.By.Position != c.by || b.Now.Held != c.held || b.FromTheBeginning != c.beginning || len(b.By.Events) != 1 ||
			b.By.Events[0].Type != c.event || b.By.Actor != "operator:local" || b.By.CommandID == "" || b.After.Held != c.held {
			t.Errorf("%s %s at %q: %+v", c.jid, c.permission, c.at, b)
		}
	}
	b, err := r.client.BlameRole(t.Context(), "acme", "r", "acme:own")
	if err != nil || b.By.Position != defined.Position || b.By.Reason != "why not" || !b.Now.Held || !b.FromTheBeginning {
		t.Errorf("role: %+v, %v", b, err)
	}
	for name, try := range map[string]func() error{
		"no domain": func() error {
			_, err := r.client.BlameMember(t.Context(), "acme", "x@beta.test", "acme:own")
			return err
		},
		"no role": func() error { _, err := r.client.BlameRole(t.Context(), "acme", "none", "acme:own"); return err },
		"no permission": func() error {
			_, err := r.client.BlameMember(t.Context(), "acme", "x@alpha.test", "nonsense")
			return err
		},
	} {
		if e := new(api.Error); !asError(try(), &e) || e.Code != api.CodeNotFound && e.Code != api.CodeInvalid {
			t.Errorf("%s: %v", name, try())
		}
	}
}

// TestLogPages reads the log by pages, backward and forward: the whole log, the log
// of a tenant, and the log of an actor.
func TestLogPages(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", api.TenantCreate{})
	r.do(t, "beta", api.TenantCreate{})
	for i := range 30 {
		r.do(t, []string{"acme", "beta", "beta"}[i%3], api.TenantRename{DisplayName: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		q    api.LogQuery
		want int
	}{
		{api.LogQuery{Limit: 7}, 32},
		{api.LogQuery{Limit: 3, Tenant: "acme"}, 11},
		{api.LogQuery{Limit: 4, Since: "5", Until: "20"}, 16},
		{api.LogQuery{Limit: 4, Since: "1h ago", Until: "0s ago", Tenant: "beta"}, 21},
		{api.LogQuery{Limit: 4, Until: "1h ago"}, 0},
		{api.LogQuery{Limit: 5, Actor: "operator:local"}, 32},
		{api.LogQuery{Limit: 5, Actor: "nobody"}, 0},
		{api.LogQuery{Limit: 5, Since: "30", Until: "7"}, 0},
	} {
		var back, ahead []uint64
		q := c.q
		for range 40 {
			tail, err := r.client.Log(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var page []uint64
			for _, e := range tail.Entries {
				page = append(page, e.Position)
			}
			back = append(page, back...)
			if q.Before = tail.NextBefore; q.Before == 0 {
				break
			}
		}
		q = c.q
		q.After = new(uint64)
		for {
			tail, err := r.client.Log(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if tail.NextAfter == *q.After {
				break
			}
			for _, e := range tail.Entries {
				ahead = append(ahead, e.Position)
			}
			q.After = &tail.NextAfter
		}
		if len(back) != c.want || !slices.IsSorted(back) || !slices.Equal(back, ahead) {
			t.Errorf("%+v: %d back %v, ahead %v", c.q, len(back), back, ahead)
		}
	}
	for _, query := range []string{"after=1&before=2", "wait=1", "after=33", "after=1&wait=26", "since=soon", "before=0"} {
		if status, body := r.get(t, "/v1/log?"+query); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

// A moving log grows while the API waits for it to become durable.
type moving struct {
	server.Log
	grow func()
	once sync.Once
}

func (m *moving) Settle(ctx context.Context) error {
	err := m.Log.Settle(ctx)
	if m.grow != nil {
		m.once.Do(m.grow)
	}
	return err
}

// TestLogPagesAreDurable checks that a page, in either direction, ends with a commit that
// the log had before it became durable. A member of a cluster can lose a later one.
func TestLogPagesAreDurable(t *testing.T) {
	for name, query := range map[string]api.LogQuery{"backward": {}, "of a tenant": {Tenant: "acme"}, "forward": {After: new(uint64)}} {
		dir, err := os.MkdirTemp("", "api")
		if err != nil {
			t.Fatal(err)
		}
		log := new(moving)
		r := startIn(t, dir, nil, func(l server.Log) server.Log { log.Log = l; return log })
		last := r.do(t, "acme", api.TenantCreate{}).Position
		log.grow = func() { r.do(t, "acme", api.TenantRename{DisplayName: "more"}) }
		page, err := r.client.Log(t.Context(), query)
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case len(page.Entries) != 1 || page.Entries[0].Position != last || page.Position != last || page.NextAfter > last:
			t.Errorf("%s: %+v, want the commit at %d only", name, page, last)
		case r.do(t, "acme", api.TenantRename{DisplayName: "again"}).Position != last+2:
			t.Errorf("%s: the page was not made durable", name)
		}
		r.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// TestLogFollowed checks that a client that follows a tenant's log gets each commit
// of this tenant once, and no other commits. Too many waiting requests are refused
// as busy, and waiting requests do not delay the stop of the server.
func TestLogFollowed(t *testing.T) {
	r := start(t, nil)
	r.do(t, "acme", api.TenantCreate{})
	r.do(t, "beta", api.TenantCreate{})
	heard := make(chan uint64, 100)
	const renames = 20
	var want []uint64
	go func() {
		defer close(heard)
		after := uint64(1)
		for n := 0; n < renames; {
			tail, err := r.client.Log(t.Context(), api.LogQuery{Tenant: "acme", After: &after, Wait: 25 * time.Second, Limit: 3})
			if err != nil {
				t.Error(err)
				return
			}
			for _, e := range tail.Entries {
				heard <- e.Position
				n++
			}
			after = tail.NextAfter
		}
	}()
	for i := range renames {
		r.do(t, "beta", api.TenantRename{DisplayName: fmt.Sprint(i)})
		want = append(want, r.do(t, "acme", api.TenantRename{DisplayName: fmt.Sprint(i)}).Position)
	}
	var got []uint64
	for p := range heard {
		got = append(got, p)
	}
	if !slices.Equal(got, want) {
		t.Errorf("heard %v, want %v", got, want)
	}
	head := want[len(want)-1]
	done := make(chan int, server.MaxFollowers)
	query := url.Values{"after": {fmt.Sprint(head)}, "wait": {"25"}}.Encode()
	for range server.MaxFollowers {
		go func() {
			status := http.StatusTooManyRequests
			for status == http.StatusTooManyRequests { // the requests with wait=1 below may take a place for a second
				status, _ = r.get(t, "/v1/log?"+query)
			}
			done <- status
		}()
	}
	for status := 0; status != http.StatusTooManyRequests; {
		status, _ = r.get(t, "/v1/log?after="+fmt.Sprint(head)+"&wait=1")
	}
	if _, err := r.client.Status(t.Context()); err != nil {
		t.Errorf("followers leave no room: %v", err)
	}
	began := time.Now()
	r.stop()
	for range server.MaxFollowers {
		if status := <-done; status != http.StatusOK {
			t.Errorf("a follower was answered %d", status)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
}
