package link

import (
	"testing"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int
		most time.Duration
	}{{0, 100 * time.Millisecond}, {1, 200 * time.Millisecond}, {3, 800 * time.Millisecond}, {5, 2 * time.Second}, {100_000, 2 * time.Second}} {
		longest := time.Duration(0)
		for range 500 {
			wait := backoff(c.n, 100*time.Millisecond, 2*time.Second)
			if wait < 0 || wait > c.most {
				t.Fatalf("try %d waits %v", c.n, wait)
			}
			longest = max(longest, wait)
		}
		if longest < c.most/2 {
			t.Errorf("try %d waits %v at most, of %v: that is no jitter", c.n, longest, c.most)
		}
	}
}

func TestABatchOutOfOrderIsRefused(t *testing.T) {
	t.Parallel()
	batch := func(through int64, numbers ...int64) *linkv1.Events {
		b := &linkv1.Events{Through: through}
		for _, n := range numbers {
			b.Events = append(b.Events, &linkv1.Event{Seq: n})
		}
		return b
	}
	for name, b := range map[string]*linkv1.Events{"falling": batch(9, 2, 1), "twice": batch(9, 2, 2), "no number": batch(9, 0), "through too low": batch(1, 1, 2)} {
		if inOrder(b) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for name, b := range map[string]*linkv1.Events{"rising": batch(3, 1, 3), "beyond the last": batch(9, 1, 3), "empty": batch(9)} {
		if err := inOrder(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
