package boottime

import (
	"testing"
	"time"
)

// TestNow checks that the clock runs, at the rate of Go's clock. A test cannot
// suspend the machine.
func TestNow(t *testing.T) {
	began, a := time.Now(), Now()
	if a <= 0 {
		t.Fatalf("the clock says %v", a)
	}
	<-time.After(20 * time.Millisecond)
	b, passed := Now(), time.Since(began)
	if d := b - a; d < 20*time.Millisecond || d > passed {
		t.Errorf("the clock ran for %v, and Go's clock for %v", d, passed)
	}
	if Clock(nil).Or()() < b || Clock(func() time.Duration { return 7 }).Or()() != 7 {
		t.Error("nil is not Now, or a clock is not itself")
	}
}

func BenchmarkNow(b *testing.B) {
	b.Run("boottime", func(b *testing.B) {
		for b.Loop() {
			Now()
		}
	})
	b.Run("time.Now", func(b *testing.B) { // the clock that it replaced
		for b.Loop() {
			time.Now()
		}
	})
}
