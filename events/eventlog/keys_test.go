package eventlog

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
)

// TestTenantsApart: no key of one tenant lies in a range over another tenant's
// keys, whatever bytes their ids contain.
func TestTenantsApart(t *testing.T) {
	ids := []string{"", "a", "b", "ab", "a\x00", "a\x00\x00", "a\xff", "\x01a", "\x00", "\xff", "|", "a|", "t|a",
		strings.Repeat("a", events.MaxID), strings.Repeat("\xff", events.MaxID), strings.Repeat("\xff", events.MaxID-1)}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		id := make([]byte, rng.IntN(6))
		for i := range id {
			id[i] = []byte{0, 1, 'a', '|', 0xfe, 0xff}[rng.IntN(6)]
		}
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	positions := []events.Position{0, 1, 0x6161616161616161, 1<<64 - 1}
	commands := append(ids, "x")
	for _, a := range ids {
		for _, b := range ids {
			if a == b {
				continue
			}
			for _, prefix := range []string{prefixTenant, prefixCommand} {
				low := []byte(tenantPrefix(prefix, b))
				high := after(string(low))
				inside := func(key string) bool {
					return bytes.Compare([]byte(key), low) >= 0 && bytes.Compare([]byte(key), high) < 0
				}
				for _, p := range positions {
					if inside(keyTenant(a, p)) {
						t.Fatalf("tenant %q lies in the range of %q", a, b)
					}
				}
				for _, id := range commands {
					if inside(keyCommand(a, id)) {
						t.Fatalf("command %q of %q lies in the range of %q", id, a, b)
					}
				}
			}
		}
	}
}

// TestKeysApart: the kinds of keys do not mix, and two different things never
// have the same key.
func TestKeysApart(t *testing.T) {
	seen := map[string]string{}
	add := func(key, what string) {
		if was, ok := seen[key]; ok && was != what {
			t.Fatalf("%q is the key of %s and of %s", key, was, what)
		}
		seen[key] = what
	}
	parts := []string{"", "\x00", "\x01", "a", "\x01a", "a\x00", "aa"}
	for _, tenant := range parts {
		for _, id := range parts {
			add(keyCommand(tenant, id), "command "+id+" of "+tenant)
		}
		for p := range events.Position(300) {
			add(keyTenant(tenant, p), "entry "+tenant+u64(uint64(p)))
		}
	}
	for p := range events.Position(300) {
		add(keyCommit(p), "commit "+u64(uint64(p)))
		for micros := range int64(20) {
			add(keyTime(time.UnixMicro(micros), p), "time "+u64(uint64(micros))+u64(uint64(p)))
		}
	}
	for _, key := range []string{keyFormat, keyLogID, keyHead} {
		add(key, key)
	}
}

// TestKeysCount: keys sort like their numbers.
func TestKeysCount(t *testing.T) {
	numbers := []uint64{0, 1, 255, 256, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	for i, n := range numbers[1:] {
		before := numbers[i]
		if keyCommit(events.Position(before)) >= keyCommit(events.Position(n)) ||
			keyTenant("a", events.Position(before)) >= keyTenant("a", events.Position(n)) {
			t.Errorf("%d is not before %d", before, n)
		}
		if p, err := positionOf([]byte(keyTenant("a", events.Position(n)))); err != nil || p != events.Position(n) {
			t.Errorf("%d becomes %d, %v", n, p, err)
		}
	}
	if a, b := keyTime(time.Unix(5, 0), 9), keyTime(time.Unix(6, 0), 1); a >= b {
		t.Error("times do not sort")
	}
	if a, b := keyTime(time.Unix(-5, 0), 1), keyTime(time.Unix(0, 0), 1); a != b {
		t.Error("a time before 1970 does not count as 1970")
	}
}
