package shell

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// maxBatch bounds one transaction, so that an answer never waits for more than this many others.
const maxBatch = 2048

// quietRounds of the scheduler without anything new end a gathering.
const quietRounds = 3

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

// gather adds to a batch what arrives while the processor goes round to those who are about to ask: a commit for twenty costs little
// more than one for three. It ends when nothing has come for quietRounds, and never lasts longer than limit.
func (b *inbox) gather(batch []any, limit time.Duration) []any {
	quiet := 0
	for began := time.Now(); quiet < quietRounds && len(batch) < maxBatch && time.Since(began) < limit; {
		runtime.Gosched()
		more := b.drain()
		if len(more) == 0 {
			quiet++
			continue
		}
		quiet = 0
		batch = append(batch, more...)
	}
	return batch
}
