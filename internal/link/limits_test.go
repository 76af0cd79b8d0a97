package link

import (
	"testing"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
)

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
