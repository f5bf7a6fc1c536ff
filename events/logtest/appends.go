package logtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

func testAppend(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(1)
	var want []events.Commit
	for i := range 30 {
		batch := []*events.Commit{a.commit(tenants[i%len(tenants)])}
		read, err := asRead(want, batch)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, batch...)
		want = append(want, read...)
		if !reflect.DeepEqual(*batch[0], read[0]) {
			t.Fatalf("append made\n%+v\nof it, want\n%+v", *batch[0], read[0])
		}
	}
	checkHolds(t, l, want)
}

func testSeveral(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(2)
	var want []events.Commit
	for range 30 {
		batch := a.batch()
		read, err := asRead(want, batch)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, batch...)
		same(t, appendAll(nil, batch), read)
		want = append(want, read...)
	}
	checkHolds(t, l, want)
}

func testConflict(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(3)
	var want []events.Commit
	for range 5 {
		c := a.commit("acme")
		mustAppend(t, l, c)
		want = append(want, *c)
	}
	late := a.commit("acme")
	before := *late
	for _, head := range []events.Position{0, 4, 6, 1 << 63, 1<<64 - 1} {
		err := l.Append(t.Context(), head, late)
		conflict, ok := errors.AsType[*events.ConflictError](err)
		if !ok || conflict.Head != 5 || conflict.Expected != head {
			t.Errorf("append at %d: %v", head, err)
		}
		if !reflect.DeepEqual(*late, before) {
			t.Errorf("append at %d changed the commit it refused", head)
		}
	}
	checkHolds(t, l, want)
	mustAppend(t, l, late)
	checkHolds(t, l, append(want, *late))
}

func testDuplicate(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(4)
	first, second := a.commit("acme"), a.commit("acme")
	mustAppend(t, l, first, second)
	want := appendAll(nil, []*events.Commit{first, second})

	refused := func(l Log, at events.Position, batch ...*events.Commit) {
		t.Helper()
		head, _ := l.Head()
		err := l.Append(t.Context(), head, batch...)
		duplicate, ok := errors.AsType[*events.DuplicateCommandError](err)
		if !ok || duplicate.Position != at || duplicate.Tenant != "acme" || duplicate.CommandID != batch[len(batch)-1].CommandID {
			t.Errorf("%v, want a duplicate of %d", err, at)
		}
	}
	again, fresh := a.commit("acme"), a.commit("acme")
	again.CommandID = second.CommandID
	refused(l, 2, again)
	again.TenantVersion, fresh.TenantVersion = 4, 3
	refused(l, 2, fresh, again) // the valid one before it is refused too
	again.CommandID = fresh.CommandID
	refused(l, 0, fresh, again)
	checkHolds(t, l, want)

	// The same id of another tenant is another id.
	other := a.commit("acm")
	other.CommandID = first.CommandID
	mustAppend(t, l, other, fresh)
	want = append(want, *other, *fresh)
	checkHolds(t, l, want)

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, place)
	again.CommandID = first.CommandID
	refused(l, 1, again)
	checkHolds(t, l, want)
}

// testRefused appends commits that no log may hold, after a valid commit, which
// must not be stored either.
func testRefused(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(5)
	first := a.commit("acme")
	mustAppend(t, l, first)
	good, bad := a.commit("acme"), a.commit("acme")
	for name, spoil := range map[string]func(*events.Commit){
		"no events":          func(c *events.Commit) { c.Events = nil },
		"no actor":           func(c *events.Commit) { c.Actor = "" },
		"no command id":      func(c *events.Commit) { c.CommandID = "" },
		"no time":            func(c *events.Commit) { c.Time = time.Time{} },
		"not UTF-8":          func(c *events.Commit) { c.Reason = "\xff" },
		"empty role":         func(c *events.Commit) { c.Events = []events.Event{events.RoleRemoved{}} },
		"unknown setting":    func(c *events.Commit) { c.Events = []events.Event{events.SettingsChanged{AuditAddresses: 99}} },
		"too large":          func(c *events.Commit) { c.Reason = strings.Repeat("a", events.MaxSize) },
		"tenant too long":    func(c *events.Commit) { c.Tenant = strings.Repeat("a", events.MaxID+1); c.TenantVersion = 1 },
		"command too long":   func(c *events.Commit) { c.CommandID = strings.Repeat("a", events.MaxID+1) },
		"version again":      func(c *events.Commit) { c.TenantVersion = 2 },
		"version left out":   func(c *events.Commit) { c.TenantVersion = 4 },
		"version zero":       func(c *events.Commit) { c.TenantVersion = 0 },
		"other's version":    func(c *events.Commit) { c.Tenant = "acm" },
		"first version of 1": func(c *events.Commit) { c.Tenant = "new"; c.TenantVersion = 2 },
	} {
		spoilt := *bad
		spoil(&spoilt)
		before := []events.Commit{*good, spoilt}
		if err := l.Append(t.Context(), 1, good, &spoilt); err == nil {
			t.Errorf("%s: accepted", name)
		} else if errors.Is(err, events.ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
		same(t, []events.Commit{*good, spoilt}, before)
		checkHolds(t, l, []events.Commit{*first})
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(cancelled, 1, good); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	checkHolds(t, l, []events.Commit{*first})
	mustAppend(t, l, good, bad)
	checkHolds(t, l, []events.Commit{*first, *good, *bad})
}

// testTenants checks that no tenant's commands are found under another tenant's
// id.
func testTenants(t *testing.T, place Place) {
	l := open(t, place)
	a := newAuthor(6)
	owner := map[string]string{}
	for range 3 {
		for _, tenant := range tenants {
			c := a.commit(tenant)
			owner[c.CommandID] = tenant
			mustAppend(t, l, c)
		}
	}
	for id, tenant := range owner {
		for _, other := range append(tenants, "a\xff", "b", strings.Repeat("a", 1000)) {
			c, found, err := l.ByCommand(other, id)
			if err != nil || found != (other == tenant) || found && c.Tenant != tenant {
				t.Errorf("command %q of %q under %q: %v, %v", id, tenant, other, found, err)
			}
			// These ids would collide if tenant and id were simply
			// concatenated.
			for _, id := range []string{"\x00" + id, "|" + id, "\x00\x01" + id, "a" + id} {
				if _, found, err := l.ByCommand(other, id); found || err != nil {
					t.Errorf("command %q under %q: %v, %v", id, other, found, err)
				}
			}
		}
	}
}

// testConcurrent runs writers that know nothing of each other.
func testConcurrent(t *testing.T, place Place) {
	const writers, each = 8, 40
	l := open(t, place)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			a := newAuthor(uint64(w))
			tenant := fmt.Sprintf("tenant%d", w)
			for range each {
				c := a.commit(tenant)
				if err := appendAnywhere(t.Context(), l, c); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	all.Wait()
	got := contents(t, l, 1)
	if len(got) != writers*each {
		t.Fatalf("%d commits of %d", len(got), writers*each)
	}
	versions := map[string]uint64{}
	for i, c := range got {
		versions[c.Tenant]++
		if c.Position != events.Position(i+1) || c.TenantVersion != versions[c.Tenant] {
			t.Fatalf("commit %d has position %d, version %d of %q", i+1, c.Position, c.TenantVersion, c.Tenant)
		}
	}
	checkHolds(t, l, got)
}

// appendAnywhere appends at the head, wherever it is.
func appendAnywhere(ctx context.Context, l Log, c *events.Commit) error {
	head, _ := l.Head()
	for {
		err := l.Append(ctx, head, c)
		conflict, ok := errors.AsType[*events.ConflictError](err)
		if !ok {
			return err
		}
		head = conflict.Head
	}
}
