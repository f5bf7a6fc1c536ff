package projections

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

// TestGateways folds events about gateways. It checks that older Views keep their
// registrations, that the encoding holds all of them, and that a removed id and a
// removed key stay known.
func TestGateways(t *testing.T) {
	views := []*View{New()}
	try := func(list ...events.Event) error {
		v := views[len(views)-1]
		next, err := v.Apply(&events.Commit{
			Position: v.Position() + 1, TenantVersion: v.Installation().Version() + 1, Events: list,
			Time: time.UnixMicro(1_700_000_000_000_000 + int64(v.Position())).UTC(),
		})
		if err == nil {
			views = append(views, next)
		}
		return err
	}
	give := func(list ...events.Event) {
		t.Helper()
		if err := try(list...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		give(events.GatewayAdded{ID: fmt.Sprintf("g%02d", i*7%20), PublicKey: fmt.Sprintf("K%d", i)})
	}
	give(events.GatewayRemoved{ID: "g07"})                 // K1
	give(events.GatewayAdded{ID: "g07", PublicKey: "K07"}) // the same id, another key
	give(events.GatewayRemoved{ID: "g07"}, events.GatewayAdded{ID: "g07", PublicKey: "K077"})
	give(events.GatewayRemoved{ID: "g00"}, events.GatewayRemoved{ID: "g19"})
	for name, e := range map[string]events.Event{
		"an id that is registered":        events.GatewayAdded{ID: "g01", PublicKey: "new"},
		"a key that is registered":        events.GatewayAdded{ID: "new", PublicKey: "K3"},
		"a key that was removed":          events.GatewayAdded{ID: "new", PublicKey: "K1"},
		"the removed key of the same id":  events.GatewayAdded{ID: "g00", PublicKey: "K0"},
		"the removal of an unknown id":    events.GatewayRemoved{ID: "g20"},
		"the removal of an id before all": events.GatewayRemoved{ID: "a"},
		"the second removal of one id":    events.GatewayRemoved{ID: "g19"},
	} {
		if try(e) == nil {
			t.Errorf("%s: applied", name)
		}
	}
	for n, v := range views {
		all := v.Installation().Gateways()
		if want := n - max(0, n-20) + min(max(0, n-21), 2); n <= 23 && len(all) != want {
			t.Errorf("view %d has %d registrations, want %d", n, len(all), want)
		}
		inForce := map[string]int{}
		for _, g := range all {
			if g.Removed == 0 {
				inForce[g.ID]++
			}
			if v.Installation().GatewayWithKey(g.PublicKey) != g || g.Since != 1_700_000_000_000_000+int64(g.Added)-1 {
				t.Errorf("view %d: %+v", n, g)
			}
		}
		for id, times := range inForce {
			if g := v.Installation().Gateway(id); times != 1 || g.Removed != 0 {
				t.Errorf("view %d: gateway %s is registered %d times: %+v", n, id, times, g)
			}
		}
		again := decoded(t, encoded(t, v))
		if again.Hash() != v.Hash() || len(again.Installation().Gateways()) != len(all) {
			t.Errorf("view %d: the decoded view differs", n)
		}
		for i, g := range again.Installation().Gateways() {
			if *g != *all[i] {
				t.Errorf("view %d: %+v, want %+v", n, g, all[i])
			}
		}
	}
	last := views[len(views)-1].Installation()
	if g := last.Gateway("g07"); g == nil || g.PublicKey != "K077" || g.Added != 23 || g.Removed != 0 {
		t.Errorf("added again: %+v", g)
	}
	if g := last.Gateway("g00"); g == nil || g.Removed != 24 {
		t.Errorf("removed: %+v", g)
	}
	if old := views[20].Installation().Gateway("g07"); old == nil || old.PublicKey != "K1" || old.Removed != 0 {
		t.Errorf("an older view: %+v", old)
	}
	if last.Gateway("g20") != nil || last.Gateway("") != nil || last.GatewayWithKey("") != nil {
		t.Error("an unknown gateway was found")
	}
}

// TestGatewaysMalformed checks that Decode refuses a section that Encode would not
// write, and accepts a snapshot of a version that knew no gateways.
func TestGatewaysMalformed(t *testing.T) {
	l := newLog(t)
	l.commit("", events.GatewayAdded{ID: "a", PublicKey: "K1"}, events.GatewayAdded{ID: "b", PublicKey: "K2"})
	l.commit("", events.GatewayRemoved{ID: "a"})
	l.commit("", events.GatewayAdded{ID: "a", PublicKey: "K3"})
	good := string(encoded(t, l.v))
	at := strings.LastIndex(good, "\x04\x03\x01a\x02K1")
	if at < 0 {
		t.Fatalf("the encoding has no section of gateways: %q", good)
	}
	head, section := good[:at], good[at:]
	time := section[len("\x04\x03\x01a\x02K1\x01"):strings.Index(section, "\x02\x01a\x02K3")]
	entry := func(id, key, added, removed string) string {
		return string(rune(len(id))) + id + string(rune(len(key))) + key + added + time + removed
	}
	if want := "\x04\x03" + entry("a", "K1", "\x01", "\x02") + entry("a", "K3", "\x03", "\x00") + entry("b", "K2", "\x01", "\x00") + "\x00"; section != want {
		t.Fatalf("the section is %q, want %q", section, want)
	}
	for name, corrupt := range map[string]string{
		"out of order":            "\x04\x02" + entry("b", "K1", "\x01", "\x00") + entry("a", "K2", "\x01", "\x00") + "\x00",
		"twice at a time":         "\x04\x02" + entry("a", "K1", "\x01", "\x00") + entry("a", "K2", "\x02", "\x00") + "\x00",
		"again before its end":    "\x04\x02" + entry("a", "K1", "\x01", "\x03") + entry("a", "K2", "\x02", "\x00") + "\x00",
		"one key twice":           "\x04\x02" + entry("a", "K1", "\x01", "\x00") + entry("b", "K1", "\x01", "\x00") + "\x00",
		"removed before it was":   "\x04\x01" + entry("a", "K1", "\x02", "\x01") + "\x00",
		"without an id":           "\x04\x01" + entry("", "K1", "\x01", "\x00") + "\x00",
		"without a key":           "\x04\x01" + entry("a", "", "\x01", "\x00") + "\x00",
		"added after the view":    "\x04\x01" + entry("a", "K1", "\x04", "\x00") + "\x00",
		"added at no position":    "\x04\x01" + entry("a", "K1", "\x00", "\x00") + "\x00",
		"empty":                   "\x04\x00\x00",
		"cut":                     section[:len(section)-3],
		"under another number":    "\x05" + section[1:],
		"a second section of two": section[:len(section)-1] + section,
	} {
		if accepted(t, []byte(head+corrupt)) {
			t.Errorf("%s: accepted", name)
		}
	}
	if !accepted(t, []byte(good)) || !accepted(t, []byte(head+"\x00")) {
		t.Error("a correct encoding, with the section or without it, was refused")
	}
}
