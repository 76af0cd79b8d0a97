package shell

import (
	"context"
	"sync"
	"time"

	"biplane.dev/biplane/internal/data/engine"
)

// lookups asks the cache and the runs that are recovered from. Its queue holds at most one entry per action in memory.
type lookups struct {
	shell   *Shell
	workers int
	mu      sync.Mutex
	ready   *sync.Cond
	queue   []engine.Lookup
	life    uint64 // of the state that asked: written by the loop, under mu
	closed  bool
}

// answered is an answer and the state that asked. One that was asked for by a state that a failed commit has undone is out of
// date: it must not pass for the answer to what the new state asks.
type answered struct {
	engine.LookupDone
	life uint64
}

func newLookups(s *Shell, workers int) *lookups {
	l := &lookups{shell: s, workers: workers}
	l.ready = sync.NewCond(&l.mu)
	return l
}

func (l *lookups) add(e engine.Lookup) {
	l.mu.Lock()
	l.queue = append(l.queue, e)
	l.mu.Unlock()
	l.ready.Signal()
}

// forget drops what has been asked so far; the loop calls it when it makes the state anew.
func (l *lookups) forget() {
	l.mu.Lock()
	l.queue = nil
	l.life++
	l.mu.Unlock()
}

func (l *lookups) run(ctx context.Context, group *sync.WaitGroup) {
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.ready.Broadcast()
	})
	for range l.workers {
		group.Go(func() {
			for {
				l.mu.Lock()
				for len(l.queue) == 0 && !l.closed {
					l.ready.Wait()
				}
				if l.closed {
					l.mu.Unlock()
					return
				}
				next, life := l.queue[0], l.life
				l.queue = l.queue[1:]
				l.mu.Unlock()
				l.shell.Tell(answered{LookupDone: l.answer(ctx, next), life: life})
			}
		})
	}
}

// answer never fails: what cannot be read is a miss, and the action is executed.
func (l *lookups) answer(ctx context.Context, e engine.Lookup) engine.LookupDone {
	done := engine.LookupDone{ID: e.ID}
	if e.RecoverFrom != nil {
		found, err := l.shell.journal.Recoverable(ctx, *e.RecoverFrom, e.ID.Action)
		if err != nil {
			l.shell.config.Log.Warn("recover lookup failed; the action is executed", "action", e.ID, "error", err)
		} else if found != nil && (len(found.Value) > 0 || found.OutputURI == "" || l.shell.world.Readable(ctx, found.OutputURI)) {
			done.Recovered = found
			return done
		}
	}
	if e.CacheKey == "" {
		return done
	}
	oldest := engine.Time(0)
	if e.CacheMaxAge > 0 {
		oldest = engine.At(l.shell.config.Now().Add(-e.CacheMaxAge).Truncate(time.Microsecond))
	}
	hit, err := l.shell.journal.Cached(ctx, e.CacheKey, oldest)
	if err != nil {
		l.shell.config.Log.Warn("cache lookup failed; the action is executed", "action", e.ID, "error", err)
		return done
	}
	if hit != nil && l.shell.world.Readable(ctx, hit.OutputURI) {
		done.Hit = hit
	}
	return done
}
