package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// diffLog returns a log with commits; each text is the reason of one.
func diffLog(t *testing.T, reasons ...string) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(eventlog.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	var commits []*events.Commit
	for i, reason := range reasons {
		commits = append(commits, &events.Commit{
			Tenant: "acme", TenantVersion: uint64(i + 1), Time: time.Unix(1_763_890_200, 0).UTC(), Actor: "operator:root",
			CommandID: fmt.Sprint(reason, i), Reason: reason, Events: []events.Event{events.RoleDefined{Name: "lab:kiosk"}},
		})
	}
	at := events.Position(0)
	for part := range slices.Chunk(commits, 500) {
		if err := l.Append(t.Context(), at, part...); err != nil {
			t.Fatal(err)
		}
		at += events.Position(len(part))
	}
	return l
}

// otherOf reads a log as another node's, a record at a time, and counts the requests.
func otherOf(l *eventlog.Log, asked *int) otherLog {
	return func(_ context.Context, from, to events.Position, fn func([][]byte) error) error {
		*asked++
		for p := from; p <= to; p++ {
			records, err := l.Records(p, events.MaxSize)
			if err != nil {
				return err
			}
			if err := fn(records[:1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestCompareLogs compares logs that are the same up to some position.
func TestCompareLogs(t *testing.T) {
	many := func(n int, reason string) []string {
		return strings.Split(strings.TrimSuffix(strings.Repeat(reason+" ", n), " "), " ")
	}
	for _, c := range []struct {
		name       string
		own, other []string
		common     events.Position
		only       int // commits that only this node has
		onlyOther  int
		asked      int // requests to the other node, at most
	}{
		{"both are empty", nil, nil, 0, 0, 0, 0},
		{"the other one is empty", many(3, "a"), nil, 0, 3, 0, 0},
		{"this one is empty", nil, many(3, "a"), 0, 0, 3, 1},
		{"the same", many(100, "a"), many(100, "a"), 100, 0, 0, 1},
		{"the other one is behind", many(100, "a"), many(97, "a"), 97, 3, 0, 1},
		{"this one is behind", many(97, "a"), many(100, "a"), 97, 0, 3, 2},
		{"a fork at the end", append(many(99, "a"), "b"), many(100, "a"), 99, 1, 1, 9},
		{"a fork in the middle", append(many(40, "a"), many(30, "b")...), many(100, "a"), 40, 30, 60, 9},
		{"a fork at the first commit", many(5, "a"), many(6, "b"), 0, 5, 6, 5},
		{"more than an answer has", many(2, "a"), append(many(2, "a"), many(1500, "b")...), 2, 0, 1000, 2},
		{"more than an answer has, here", append(many(2, "a"), many(1500, "b")...), many(2, "a"), 2, 1000, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			own, other, asked := diffLog(t, c.own...), diffLog(t, c.other...), 0
			head, _ := other.Head()
			d, err := compareLogs(t.Context(), own, head, otherOf(other, &asked))
			if err != nil || d.Common != c.common || len(d.Own.Only) != c.only || len(d.Other.Only) != c.onlyOther || int(d.Own.Position) != len(c.own) || d.Other.Position != head {
				t.Errorf("common %d, only %d and %d, %v", d.Common, len(d.Own.Only), len(d.Other.Only), err)
			}
			if asked > c.asked {
				t.Errorf("%d requests", asked)
			}
			for i, list := range [][]*events.Commit{d.Own.Only, d.Other.Only} {
				if len(list) > 0 && list[0].Position != c.common+1 {
					t.Errorf("side %d begins at %d", i, list[0].Position)
				}
			}
		})
	}
	own := diffLog(t, "a", "b")
	broken := func(context.Context, events.Position, events.Position, func([][]byte) error) error {
		return errors.New("cut off")
	}
	if _, err := compareLogs(t.Context(), own, 2, broken); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("the other node does not answer: %v", err)
	}
	if _, err := compareLogs(t.Context(), own, 2, func(context.Context, events.Position, events.Position, func([][]byte) error) error { return nil }); err == nil {
		t.Error("the other node has no records: no error")
	}
}
