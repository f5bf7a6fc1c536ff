package decision

import (
	"testing"
	"time"
)

// TestFresh checks both bounds, and that a time which proves nothing is never
// fresh.
func TestFresh(t *testing.T) {
	const now = time.Hour
	for _, tt := range []struct {
		what          string
		asked, proven time.Duration
		want          bool
	}{
		{"just now", now, now, true},
		{"at both bounds", now - MaxAge, now - Lease, true},
		{"asked too long ago", now - MaxAge - 1, now, false},
		{"proven too long ago", now, now - Lease - 1, false},
		{"asked in the future", now + 1, now, false},
		{"proven in the future", now, now + 1, false},
		{"never asked", 0, now, false},
		{"never proven", now, 0, false},
		{"proven before the clock", now, -1, false},
		{"nothing", 0, 0, false},
	} {
		v := Verdict{Freshness: Freshness{AskedAt: tt.asked, ProvenAt: tt.proven}}
		if got := v.Fresh(now); got != tt.want {
			t.Errorf("%s: fresh is %v", tt.what, got)
		}
	}
	if new(Verdict).Fresh(0) {
		t.Error("the zero verdict is fresh when the clock cannot be read")
	}
}
