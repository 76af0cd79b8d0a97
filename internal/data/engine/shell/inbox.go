package shell

import (
	"context"
	"sync"
	"time"
)

// maxBatch bounds one transaction, so that an answer never waits for more than this many others.
const maxBatch = 2048

// inbox is what waits for the loop: requests, up to a limit, and things told, of which there is at most one per action in
// memory. Order of arrival is kept.
type inbox struct {
	mu      sync.Mutex
	items   []any
	pending int // requests among items
	limit   int
	wake    chan struct{}
}

func newInbox(limit int) *inbox {
	return &inbox{limit: limit, wake: make(chan struct{}, 1)}
}

func (b *inbox) ask(r *request) bool {
	b.mu.Lock()
	if b.pending >= b.limit {
		b.mu.Unlock()
		return false
	}
	b.pending++
	b.items = append(b.items, r)
	b.mu.Unlock()
	b.signal()
	return true
}

func (b *inbox) tell(item any) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	b.signal()
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what has arrived, at most maxBatch items; none when the wait has passed. A negative wait has no end.
func (b *inbox) take(ctx context.Context, wait time.Duration) []any {
	if batch := b.drain(); len(batch) > 0 || wait == 0 {
		return batch
	}
	var timeout <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case <-b.wake:
			if batch := b.drain(); len(batch) > 0 {
				return batch
			}
		case <-timeout:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *inbox) drain() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := b.items
	if len(batch) > maxBatch {
		b.items = append([]any(nil), batch[maxBatch:]...)
		batch = batch[:maxBatch:maxBatch]
		b.signal()
	} else {
		b.items = nil
	}
	for _, item := range batch {
		if _, ok := item.(*request); ok {
			b.pending--
		}
	}
	return batch
}
