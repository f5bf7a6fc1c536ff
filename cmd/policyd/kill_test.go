package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/projections"
)

// killVariable makes the test binary run policyd, configured by its environment
// alone.
const killVariable = "POSTERN_TEST_POLICYD"

// runKillable runs policyd and returns its exit status.
func runKillable() int {
	c, err := loadConfig("", os.Environ())
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = run(ctx, c, false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A killable is a policyd that is killed and started again.
type killable struct {
	t      *testing.T
	config *config
	client *api.Client
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// start starts policyd and waits until it is ready.
func (k *killable) start() {
	k.t.Helper()
	k.cmd, k.stderr = exec.Command(os.Args[0]), new(bytes.Buffer)
	k.cmd.Env = append(os.Environ(), killVariable+"=1",
		envPrefix+"DATA="+k.config.Data, envPrefix+"ADMIN_SOCKET="+k.config.Admin.Socket,
		envPrefix+"NATS_LISTEN="+k.config.NATS.Listen, envPrefix+"LISTEN_HTTP="+k.config.Listen.HTTP,
		envPrefix+"LOG_LEVEL=error", envPrefix+"SNAPSHOTS_EVERY=100")
	k.cmd.Stderr = k.stderr
	if err := k.cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for get(k.config, "/readyz") != "ok\n" {
		select {
		case <-tick.C:
		case <-deadline:
			k.kill()
			k.t.Fatalf("policyd is not ready: %s", k.stderr)
		}
	}
}

// kill kills policyd with SIGKILL.
func (k *killable) kill() {
	k.cmd.Process.Kill()
	k.cmd.Wait()
}

// An order is a command and its result, if the result is known.
type order struct {
	tenant, id string
	command    api.Command
	// event is the only event in the commit of the command; nil if there are more.
	// events is the number of events in the commit.
	event  events.Event
	events int

	result api.Result
	known  bool
}

// give sends an order to policyd. If policyd refuses it, give returns the error.
// After any other error, the result is unknown.
func (k *killable) give(o *order) error {
	result, err := k.client.Do(context.Background(), o.tenant, o.command, api.CommandMeta{ID: o.id})
	if err == nil {
		o.result, o.known = result, true
		return nil
	}
	var said *api.Error
	if errors.As(err, &said) && said.Code != api.CodeUnknown && said.Code != api.CodeUnavailable && said.Code != api.CodeBusy {
		return fmt.Errorf("%s of %s: %w", o.command.Command(), o.tenant, err)
	}
	return nil
}

const (
	killTenants = 4
	killWriters = 6
	killMembers = 20
)

func killTenant(i int) string { return fmt.Sprintf("t%d", i) }

// creation returns an order whose commit has many events.
func creation(i int) *order {
	domain := killTenant(i) + ".example"
	c := api.TenantCreate{
		DisplayName: "Tenant", Ceiling: []string{"xmpp:federate"}, Domains: []api.DomainAdd{{Domain: domain}},
		Services: []string{"rooms." + domain}, Roles: []api.RoleDefine{{Role: "a"}, {Role: "b", Inherits: []string{"a"}}},
	}
	for j := range killMembers {
		c.Members = append(c.Members, api.MemberSet{JID: fmt.Sprintf("m%d@%s", j, domain), Role: "a"})
	}
	return &order{tenant: killTenant(i), id: "create", command: c, events: 6 + killMembers}
}

// randomOrder returns an order whose commit has one event.
func randomOrder(rng *rand.Rand, id string) *order {
	tenant := killTenant(rng.IntN(killTenants))
	o := &order{tenant: tenant, id: id, events: 1}
	account := fmt.Sprintf("m%d@%s.example", rng.IntN(4*killMembers), tenant)
	switch rng.IntN(5) {
	case 0:
		deny := []string{fmt.Sprintf("lab:x%d", rng.IntN(1000))}
		o.command = api.RoleDefine{Role: "a", Deny: deny}
		o.event = events.RoleDefined{Name: "a", Deny: deny}
	case 1:
		o.command = api.MemberEndSessions{JID: account}
		o.event = events.MemberSessionsEnded{JID: account}
	default:
		role := []string{"a", "b", "prosody:guest"}[rng.IntN(3)]
		o.command = api.MemberSet{JID: account, Role: role}
		o.event = events.MemberRolesSet{JID: account, Role: role}
	}
	return o
}

// TestKills kills policyd at random moments under a load of commands, and starts it
// again. Each acknowledged commit must be in the log, complete and at its position.
// A commit that was not acknowledged must be there completely and once, or not at
// all. The state must be the same if it is rebuilt from the beginning of the log and
// from each snapshot.
func TestKills(t *testing.T) {
	rounds := 5
	if os.Getenv("POSTERN_SOAK") == "1" {
		rounds = 200
	}
	k := &killable{t: t, config: testConfig(t)}
	k.client = api.NewClient(k.config.Admin.Socket)
	t.Cleanup(k.client.Close)
	k.start()
	var all []*order
	for i := range killTenants {
		o := creation(i)
		if err := k.give(o); err != nil || !o.known {
			t.Fatalf("create: %v %v", err, o.known)
		}
		all = append(all, o)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	unknown := 0
	for round := range rounds {
		orders := k.load(round, time.Duration(20+rng.IntN(300))*time.Millisecond)
		v := checkLog(t, k.config, append(all, orders...))
		k.start()
		k.compare(v)
		for _, o := range orders {
			if o.known {
				continue
			}
			unknown++
			if err := k.give(o); err != nil || !o.known {
				t.Fatalf("round %d: %s given again: %v, known %v", round, o.id, err, o.known)
			}
		}
		all = append(all, orders...)
	}
	k.kill()
	checkLog(t, k.config, all)
	acknowledged := 0
	for _, o := range all {
		if o.result.Changed {
			acknowledged++
		}
	}
	t.Logf("%d kills, %d commands, %d of them commits, %d unknown at a kill", rounds+1, len(all), acknowledged, unknown)
	if acknowledged < 10*rounds {
		t.Errorf("only %d commits: no load", acknowledged)
	}
}

// load sends random orders from several goroutines, and kills policyd after a time.
func (k *killable) load(round int, after time.Duration) (orders []*order) {
	k.t.Helper()
	stop := make(chan struct{})
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	for w := range killWriters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				o := randomOrder(rng, fmt.Sprintf("r%d-w%d-%d", round, w, n))
				err := k.give(o)
				mu.Lock()
				orders = append(orders, o)
				failed = errors.Join(failed, err)
				mu.Unlock()
				if !o.known {
					return // policyd is dead
				}
			}
		})
	}
	timer := time.NewTimer(after)
	<-timer.C
	k.kill()
	close(stop)
	wg.Wait()
	if failed != nil {
		k.t.Fatal(failed)
	}
	return orders
}

// checkLog opens the log of a killed policyd, checks the orders against it, and
// returns the View built from the beginning of the log.
func checkLog(t *testing.T, c *config, orders []*order) *projections.View {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: c.logDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := projections.New()
	if err := l.Read(t.Context(), 1, func(c *events.Commit) (err error) {
		v, err = v.Apply(c)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, o := range orders {
		commit, found, err := l.ByCommand(o.tenant, o.id)
		switch {
		case err != nil:
			t.Fatal(err)
		case o.known && found != o.result.Changed:
			t.Fatalf("%s of %s was acknowledged (changed %v), and is in the log: %v", o.id, o.tenant, o.result.Changed, found)
		case !found:
			continue
		case o.known && (uint64(commit.Position) != o.result.Position || commit.TenantVersion != o.result.TenantVersion):
			t.Fatalf("%s of %s was acknowledged at %d (version %d) and is at %d (%d)", o.id, o.tenant,
				o.result.Position, o.result.TenantVersion, commit.Position, commit.TenantVersion)
		case len(commit.Events) != o.events || o.event != nil && events.Describe(commit.Events[0]) != events.Describe(o.event):
			t.Fatalf("%s of %s is in the log as %v", o.id, o.tenant, commit.Events)
		}
	}
	checkSnapshots(t, l, v)
	return v
}

// checkSnapshots applies to each snapshot the commits after it, as a start does. The
// result must be equal to the View of the whole log.
func checkSnapshots(t *testing.T, l *eventlog.Log, whole *projections.View) {
	t.Helper()
	for atMost := whole.Position(); ; {
		at, r, found, err := l.Snapshot(t.Context(), atMost)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return
		}
		v, err := projections.Decode(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatalf("the snapshot at %d: %v", at, err)
		}
		b := projections.BuilderFrom(v)
		if err := l.Read(t.Context(), at+1, b.Apply); err != nil {
			t.Fatal(err)
		}
		if b.View().Hash() != whole.Hash() {
			t.Fatalf("the snapshot at %d and the commits after it give another state than the log", at)
		}
		atMost = at - 1
	}
}

// compare checks that the state which policyd shows is equal to a View.
func (k *killable) compare(v *projections.View) {
	k.t.Helper()
	status, err := k.client.Status(k.t.Context())
	if err != nil || status.Position != uint64(v.Position()) {
		k.t.Fatalf("policyd is at %d, the log at %d (%v)", status.Position, v.Position(), err)
	}
	for t := range v.Tenants() {
		roles, err := k.client.Roles(k.t.Context(), t.ID())
		if err != nil {
			k.t.Fatal(err)
		}
		for _, r := range roles.Roles {
			want, ok := t.Role(r.Role)
			if !ok || !slices.Equal(r.Deny, append([]string{}, want.Deny...)) && !want.Builtin {
				k.t.Fatalf("role %s of %s: %+v, want %+v", r.Role, t.ID(), r, want)
			}
		}
		members, err := k.client.Members(k.t.Context(), t.ID(), "", 1000)
		if err != nil {
			k.t.Fatal(err)
		}
		var got, want []string
		for _, m := range members.Members {
			got = append(got, m.JID+" "+m.Role)
		}
		for _, m := range t.MembersAfter("", 1000) {
			want = append(want, m.JID+" "+m.Role)
		}
		if !slices.Equal(got, want) {
			k.t.Fatalf("members of %s:\n%s\nwant\n%s", t.ID(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
