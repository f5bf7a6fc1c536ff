package tenants

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/projections"
)

// publicKey returns the n-th public key of a user.
func publicKey(t testing.TB, n int) string {
	t.Helper()
	seed := make([]byte, 32)
	binary.BigEndian.PutUint64(seed, uint64(n))
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// TestUserKeys compares isUserKey with the library of the NATS server, and
// isGatewayID with the rule for ids in questions. The library also accepts some
// longer texts, with which a key could have two spellings; isUserKey does not.
func TestUserKeys(t *testing.T) {
	good := publicKey(t, 1)
	candidates := []string{good, publicKey(t, 2), "", "U", strings.ToLower(good), good + "A", good[:55], good[:54] + "\n" + good[55:], good + "===="}
	for i := range len(good) {
		candidates = append(candidates, good[:i]+"7"+good[i+1:], good[:i]+"1"+good[i+1:])
	}
	for _, prefix := range []nkeys.PrefixByte{nkeys.PrefixByteAccount, nkeys.PrefixByteServer, nkeys.PrefixByteOperator} {
		other, err := nkeys.Encode(prefix, bytes.Repeat([]byte{9}, 32))
		if err != nil {
			t.Fatal(err)
		}
		candidates = append(candidates, string(other))
	}
	right := 0
	for _, s := range candidates {
		if isUserKey(s) != (len(s) == len(good) && nkeys.IsValidPublicUserKey(s)) {
			t.Errorf("%q: %v", s, isUserKey(s))
		}
		if isUserKey(s) {
			right++
		}
	}
	if right < 2 || right == len(candidates) {
		t.Errorf("%d of %d candidates are keys", right, len(candidates))
	}
	for _, id := range []string{"", "a", "edge1", "Edge", "a-b", "a.b", "é", strings.Repeat("z", 32), strings.Repeat("z", 33)} {
		if isGatewayID(id) != decision.IsToken(id) {
			t.Errorf("id %q: %v", id, isGatewayID(id))
		}
	}
}

// TestGatewayBounds checks that the bounds can be reached but not exceeded.
func TestGatewayBounds(t *testing.T) {
	// more registers gateways in v, and removes some of them.
	more := func(v *projections.View, registered, removed int) *projections.View {
		t.Helper()
		next := v.Position() + 1
		var list []events.Event
		for i := range registered + removed {
			id := fmt.Sprintf("g%d-%d", next, i)
			list = append(list, events.GatewayAdded{ID: id, PublicKey: "K" + id})
			if i >= registered {
				list = append(list, events.GatewayRemoved{ID: id})
			}
		}
		v, err := v.Apply(&events.Commit{Position: next, TenantVersion: uint64(next), Events: list})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	// Each registration is compared with all others, so this View is built once.
	last := more(projections.New(), 0, MaxRegistrations-1)
	add := AddGateway{ID: "new", PublicKey: publicKey(t, 1)}
	for _, c := range []struct {
		v                   *projections.View
		registered, removed int
		want                string
	}{
		{more(projections.New(), MaxGateways-1, 1), MaxGateways - 1, 1, ""},
		{more(projections.New(), MaxGateways, 0), MaxGateways, 0, "already 1024 gateways"},
		{last, 0, MaxRegistrations - 1, ""},
		{more(last, 0, 1), 0, MaxRegistrations, "16384 times"},
	} {
		outcome, err := Check(c.v, "", add)
		if c.want == "" && (err != nil || len(outcome.Events) != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d registered, %d removed: %v, %v", c.registered, c.removed, outcome.Events, err)
		}
	}
}

// TestGatewaysOfOperators checks that neither a tenant's administrator nor an actor
// of a tenant without a command for it may change the registry.
func TestGatewaysOfOperators(t *testing.T) {
	w := &world{t: t, v: projections.New()}
	if _, err := w.give("a", CreateTenant{}); err != nil {
		t.Fatal(err)
	}
	for _, actor := range []Actor{{Name: "x"}, {Name: "x", Tenant: "a"}} {
		for _, tenant := range []string{"", "a"} {
			for _, c := range []Change{AddGateway{"edge1", publicKey(t, 1)}, RemoveGateway{"edge1"}} {
				command := Command{Tenant: tenant, Actor: actor, ID: "1", Change: c}
				_, err := command.Check(w.v)
				if e, ok := errors.AsType[*Error](err); !ok || e.Code != Forbidden {
					t.Errorf("%s by %+v: %v", c.Name(), actor, err)
				}
			}
		}
	}
}
