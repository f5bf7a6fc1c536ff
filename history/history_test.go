package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// openLog returns a log in which two tenants take turns: tenant "a" is renamed
// at every odd position, "b" at every even one, each to the position's number.
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

// TestAt: a tenant is what it was at each position, also between its commits,
// and what was asked for is kept.
func TestAt(t *testing.T) {
	const last = 8
	h := New(openLog(t, last))
	for p := range last {
		at := events.Position(p + 1)
		v, err := h.At(t.Context(), anOperator, "a", at)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(p + 1 - p%2) // odd: the newest of "a"
		if got := v.Tenant([]byte("a")); got == nil || got.Name() != want || v.Position() != at {
			t.Errorf("at %d: %+v", at, got)
		}
		if v.Tenant([]byte("b")) != nil {
			t.Errorf("at %d: another tenant is shown", at)
		}
		if again, err := h.At(t.Context(), Caller{Tenant: "a"}, "a", at); err != nil || again != v {
			t.Errorf("at %d: folded again: %v", at, err)
		}
	}
	if v, err := h.At(t.Context(), anOperator, "b", 1); err != nil || v.Tenant([]byte("b")) != nil {
		t.Errorf("before its first commit: %v", err)
	}
}

// TestFold: the commits of the tenant up to the position, and no others.
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

// TestKept: the Views that are kept stay within the bound, and are those that
// were used last.
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
		t.Errorf("%d are kept after one that is too large", len(h.kept))
	}
}

// TestTurn: a tenant has one turn at a time, all tenants together tenantFolds,
// and none of them is an operator's.
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
			t.Errorf("%+v need not wait: %v", who, err)
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

// A hanging log answers when its reader has given up.
type hanging struct{}

func (hanging) Tenant(ctx context.Context, _ string, _ events.Position, _ func(*events.Commit) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestSlow: a history that is not read in time is given up, and its turn ends.
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
			t.Errorf("given up after %s", took)
		}
	})
}
