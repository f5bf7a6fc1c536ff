package server_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/api/server"
)

// userKey makes the public key of a user of NATS.
func userKey() string {
	pair, err := nkeys.CreateUser()
	if err != nil {
		panic(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		panic(err)
	}
	return public
}

// TestGateways adds, lists and removes gateways, and compares the list with what the
// node hears from them.
func TestGateways(t *testing.T) {
	r := start(t, nil)
	keys := map[string]string{"edge1": userKey(), "edge2": userKey(), "again": userKey()}
	if empty, err := r.client.Gateways(t.Context(), true); err != nil || empty.Gateways == nil || len(empty.Gateways) != 0 {
		t.Errorf("before the first: %+v, %v", empty, err)
	}
	at := func(c api.Command) uint64 { return r.do(t, "", c).Position }
	first := at(api.GatewayAdd{ID: "edge1", PublicKey: keys["edge1"]})
	second := at(api.GatewayAdd{ID: "edge2", PublicKey: keys["edge2"]})
	removed := at(api.GatewayRemove{ID: "edge1"})
	again := at(api.GatewayAdd{ID: "edge1", PublicKey: keys["again"]})
	moment := time.Unix(1_800_000_000, 0).UTC()
	r.lobby.mu.Lock()
	r.lobby.present = []server.Presence{
		{Gateway: "abroad", Heard: moment, Here: true}, {Gateway: "edge1", Expected: true, Heard: moment, Here: true, Twice: true}, {Gateway: "edge2", Expected: true},
	}
	r.lobby.mu.Unlock()
	for _, c := range []struct {
		removed bool
		want    []api.Gateway
	}{
		{false, []api.Gateway{
			{ID: "abroad", Connected: true, Heard: moment},
			{ID: "edge1", PublicKey: keys["again"], Added: again, Connected: true, Heard: moment, Twice: true},
			{ID: "edge2", PublicKey: keys["edge2"], Added: second},
		}},
		{true, []api.Gateway{
			{ID: "abroad", Connected: true, Heard: moment},
			{ID: "edge1", PublicKey: keys["edge1"], Added: first, Removed: removed},
			{ID: "edge1", PublicKey: keys["again"], Added: again, Connected: true, Heard: moment, Twice: true},
			{ID: "edge2", PublicKey: keys["edge2"], Added: second},
		}},
	} {
		got, err := r.client.Gateways(t.Context(), c.removed)
		if err != nil || got.Position != again {
			t.Fatalf("%+v, %v", got, err)
		}
		for i := range got.Gateways {
			if g := &got.Gateways[i]; (g.Added == 0) != g.Since.IsZero() || !g.Since.IsZero() && time.Since(g.Since).Abs() > time.Hour {
				t.Errorf("%s: since %v", g.ID, g.Since)
			}
			got.Gateways[i].Since = time.Time{}
		}
		if !reflect.DeepEqual(got.Gateways, c.want) {
			t.Errorf("removed %v: got\n%+v, want\n%+v", c.removed, got.Gateways, c.want)
		}
	}
	// A time that is not known is absent, not the year 1.
	if status, body := r.get(t, "/v1/gateways?removed=false"); status != http.StatusOK || strings.Contains(body, "0001-") {
		t.Errorf("status %d: %s", status, body)
	}
	if status, _ := r.get(t, "/v1/gateways?removed=maybe"); status != http.StatusBadRequest {
		t.Errorf("a bad query: status %d", status)
	}
}
