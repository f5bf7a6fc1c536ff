package overnats

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-im/postern/decision"
)

// TestExpect: a gateway that is not expected any more is not asked and not named as
// missing, even if a query waits for it or an announcement of it is still on the way.
// The sessions of the others stay visible.
func TestExpect(t *testing.T) {
	s := startNATS(t, -1)
	attend(t, s, "gw1", []decision.LiveSession{live("acme", "a@a.test", "s1")}, nil)
	d := directory(t, s, "gw1", "gw1", "gw2")
	ask := func() Sessions {
		t.Helper()
		got, err := d.Ask(t.Context(), "", decision.SessionQuery{Limit: 10, Session: "s1"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := ask(); !slices.Equal(got.Missing, []string{"gw2"}) {
		t.Fatalf("missing %v before the removal", got.Missing)
	}
	waiting := make(chan Sessions, 1)
	began := time.Now()
	go func() {
		got, _ := d.Ask(t.Context(), "gw2", decision.SessionQuery{Limit: 10})
		waiting <- got
	}()
	open := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.open)
	}
	for open() == 0 {
		if time.Since(began) > 10*time.Second {
			t.Fatal("no query is in progress")
		}
	}
	if err := d.Expect([]string{"gw1", "gw3"}); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; len(got.Missing) > 0 || time.Since(began) >= answerWithin {
		t.Errorf("a query that waited for the gateway: missing %v after %v", got.Missing, time.Since(began))
	}
	d.note("gw2", here, 1) // sent before the removal
	if got := ask(); !slices.Equal(got.Missing, []string{"gw3"}) || !slices.Equal(idsOf(got), []string{"gw1:s1"}) {
		t.Errorf("after the removal: missing %v, sessions %v", got.Missing, idsOf(got))
	}
	if err := d.Expect([]string{"gw1", "gw2"}); err != nil {
		t.Fatal(err)
	}
	if got := ask(); !slices.Equal(got.Missing, []string{"gw2"}) {
		t.Errorf("added again: missing %v", got.Missing)
	}
	if d.Expect([]string{"gw.*"}) == nil {
		t.Error("a wildcard was accepted as an id")
	}
}

// TestPresence: the directory knows since when each gateway is silent.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := NewSessionDirectory(nil, "n1", []string{"gw1", "gw2"}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		look := func(want ...Presence) {
			t.Helper()
			if got := d.Presence(); !slices.Equal(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		gw2 := Presence{Gateway: "gw2", Expected: true}
		look(Presence{Gateway: "gw1", Expected: true}, gw2)
		begin := time.Now()
		d.note("gw1", here, 7)
		d.note("gw3", here, 8) // not expected, as with external NATS servers
		gw3 := Presence{Gateway: "gw3", Heard: begin, Here: true}
		look(Presence{Gateway: "gw1", Expected: true, Heard: begin, Here: true}, gw2, gw3)
		<-time.After(hereFor)
		gw3.Here = false
		look(Presence{Gateway: "gw1", Expected: true, Heard: begin}, gw2, gw3)
		later := time.Now()
		d.note("gw1", here, 9)
		d.note("gw1", here, 7)
		look(Presence{Gateway: "gw1", Expected: true, Heard: later, Here: true, Twice: true}, gw2, gw3)
		d.note("gw1", goes, 7)
		d.note("gw3", goes, 8)
		look(Presence{Gateway: "gw1", Expected: true, Heard: later}, gw2)
		if err := d.Expect([]string{"gw2"}); err != nil {
			t.Fatal(err)
		}
		d.note("gw1", here, 7)
		look(gw2)
		// A gateway that goes on announcing itself was not cut off, and its sessions
		// must not be left out in silence.
		<-time.After(removedFor)
		d.note("gw1", here, 7)
		look(Presence{Gateway: "gw1", Heard: time.Now(), Here: true}, gw2)
	})
}
