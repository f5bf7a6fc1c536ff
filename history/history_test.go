package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// openLog returns a log of two tenants. Tenant "a" is renamed at every odd position
// and tenant "b" at every even position. The new name is the position's number.
func openLog(t *testing.T, last int) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for p := 1; p <= last; p++ {
		c := &events.Commit{
			Tenant: []string{"b", "a"}[p%2], TenantVersion: uint64(p+1) / 2, Time: time.Unix(int64(p), 0).UTC(),
			Actor: "operator:root", CommandID: fmt.Sprint(p), Events: []events.Event{events.TenantRenamed{Name: fmt.Sprint(p)}},
		}
		if p <= 2 {
			c.Events = []events.Event{events.TenantCreated{Name: fmt.Sprint(p)}}
		}
		if err := l.Append(t.Context(), events.Position(p-1), c); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

var anOperator = Caller{Operator: true}

// TestAt checks the state of a tenant at each position, also between its commits.
// It also checks that the Views are cached.
func TestAt(t *testing.T) {
	const last = 8
	h := New(openLog(t, last))
	for p := range last {
		at := events.Position(p + 1)
		v, err := h.At(t.Context(), anOperator, "a", at)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(p + 1 - p%2) // the position of the newest commit of "a", which is odd
		if got := v.Tenant([]byte("a")); got == nil || got.Name() != want || v.Position() != at {
			t.Errorf("at %d: %+v", at, got)
		}
		if v.Tenant([]byte("b")) != nil {
			t.Errorf("at %d: the View has another tenant", at)
		}
		if again, err := h.At(t.Context(), Caller{Tenant: "a"}, "a", at); err != nil || again != v {
			t.Errorf("at %d: folded again: %v", at, err)
		}
	}
	if v, err := h.At(t.Context(), anOperator, "b", 1); err != nil || v.Tenant([]byte("b")) != nil {
		t.Errorf("before its first commit: %v", err)
	}
}

// TestFold checks that Fold passes exactly the tenant's commits up to the position.
func TestFold(t *testing.T) {
	h := New(openLog(t, 8))
	var got []events.Position
	err := h.Fold(t.Context(), anOperator, "b", 7, func(c *events.Commit) error {
		got = append(got, c.Position)
		return nil
	})
	if fmt.Sprint(got) != "[2 4 6]" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	failed := errors.New("failed")
	if err := h.Fold(t.Context(), anOperator, "b", 7, func(*events.Commit) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("an error of the caller: %v", err)
	}
}

// TestKept checks that the cache stays within its bound and keeps the most recently
// used Views.
func TestKept(t *testing.T) {
	h := New(nil)
	const each = maxKept / 4
	for at := range events.Position(10) {
		h.keep(kept{key{"a", at}, nil, each})
		h.find(key{"a", 1})
	}
	var got []events.Position
	for _, v := range h.kept {
		got = append(got, v.key.at)
	}
	if fmt.Sprint(got) != "[7 8 9 1]" {
		t.Errorf("kept: %v", got)
	}
	h.keep(kept{key{"a", 11}, nil, maxKept + 1})
	if len(h.kept) != 4 {
		t.Errorf("%d Views are cached after adding a View that is too large", len(h.kept))
	}
}

// TestTurn checks that a tenant has one turn at a time, that all tenants together
// have tenantFolds turns, and that tenants cannot take the operators' turn.
func TestTurn(t *testing.T) {
	h := New(nil)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	must := func(who Caller) func() {
		t.Helper()
		end, err := h.Turn(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		return end
	}
	mustWait := func(who Caller) {
		t.Helper()
		if _, err := h.Turn(over, who); !errors.Is(err, ErrBusy) {
			t.Errorf("%+v did not have to wait: %v", who, err)
		}
	}
	a := must(Caller{Tenant: "a"})
	mustWait(Caller{Tenant: "a"})
	b := must(Caller{Tenant: "b"})
	mustWait(Caller{Tenant: "c"})
	operator := must(anOperator)
	mustWait(anOperator)
	a()
	c := must(Caller{Tenant: "c"})
	mustWait(Caller{Tenant: "b"})
	for _, end := range []func(){b, c, operator} {
		end()
	}
	must(Caller{Tenant: "b"})()
	must(anOperator)()
}

// TestTurnsAreShared checks that two tenants with many waiting calls do not keep a
// third tenant waiting longer than for one turn.
func TestTurnsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(nil)
		var begun []string
		goOn := make(chan struct{}) // each turn ends with a receive
		turn := func(tenant string) {
			go func() {
				end, err := h.Turn(t.Context(), Caller{Tenant: tenant})
				if err != nil {
					t.Errorf("tenant %q: %v", tenant, err)
					return
				}
				begun = append(begun, tenant) // one call at a time, by synctest.Wait
				<-goOn
				end()
			}()
			synctest.Wait()
		}
		for range 16 {
			turn("a")
			turn("b")
		}
		turn("c")
		for range 33 {
			goOn <- struct{}{}
			synctest.Wait()
		}
		if got := begun[:3]; !slices.Equal(got, []string{"a", "b", "c"}) || len(begun) != 33 {
			t.Errorf("the turns begin with %q; %d in all", got, len(begun))
		}
	})
}

// A hanging log returns only when its context ends.
type hanging struct{}

func (hanging) Tenant(ctx context.Context, _ string, _ events.Position, _ func(*events.Commit) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestSlow checks that reading a history stops after foldTime, and that the turn
// then ends.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(hanging{})
		begun := time.Now()
		for range 2 {
			_, err := h.At(t.Context(), Caller{Tenant: "a"}, "a", 1)
			if slow, ok := errors.AsType[*SlowError](err); !ok || slow.Tenant != "a" {
				t.Errorf("error: %v", err)
			}
		}
		if took := time.Since(begun); took != 2*foldTime {
			t.Errorf("stopped after %s", took)
		}
	})
}
