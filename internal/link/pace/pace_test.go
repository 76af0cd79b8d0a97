package pace_test

import (
	"testing"
	"time"

	"biplane.dev/biplane/internal/link/pace"
)

func TestBackoffIsFullJitterBelowADoublingBound(t *testing.T) {
	t.Parallel()
	for n, most := range map[int]time.Duration{0: 100 * time.Millisecond, 1: 200 * time.Millisecond, 3: 800 * time.Millisecond, 5: 2 * time.Second, 1 << 40: 2 * time.Second} {
		shortest, longest := time.Hour, time.Duration(0)
		for range 500 {
			wait := pace.Backoff(n, 100*time.Millisecond, 2*time.Second)
			shortest, longest = min(shortest, wait), max(longest, wait)
		}
		if shortest < 0 || longest > most || longest < most/2 || shortest > most/4 {
			t.Errorf("try %d waits between %v and %v, of %v", n, shortest, longest, most)
		}
	}
}

func TestJittered(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 100 {
		d := pace.Jittered(time.Minute)
		if d < 48*time.Second || d > 72*time.Second {
			t.Fatalf("a minute became %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 90 {
		t.Errorf("only %d different ones of 100", len(seen))
	}
}
