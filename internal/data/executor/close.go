package executor

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// background counts the goroutines of a Process, so that Close can wait for them.
type background struct {
	mu      sync.Mutex
	closing bool
	running sync.WaitGroup
}

// goDo runs f beside; after Close has begun to wait it does nothing.
func (p *Process) goDo(f func()) {
	p.tasks.mu.Lock()
	defer p.tasks.mu.Unlock()
	if !p.tasks.closing {
		p.tasks.running.Go(f)
	}
}

// notify leaves a sign in a channel of capacity one.
func notify(sign chan<- struct{}) {
	select {
	case sign <- struct{}{}:
	default:
	}
}

// janitor removes discarded folders, one at a time, so that Forget never waits for a large one.
func (p *Process) janitor() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
			if err := p.folders.empty(); err != nil {
				p.options.Logger.Error("discarded attempts cannot be removed; it is tried again with the next", "error", err)
			}
		}
	}
}

// Close stops watching. Without kill the attempts run on, and end after the orphan grace unless a new life of the plane comes.
// With kill they are stopped first, and Close returns when nothing of them is alive, or with an error when ctx is done before.
func (p *Process) Close(ctx context.Context, kill bool) error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if again {
		return nil
	}
	var err error
	if kill {
		err = p.stopAll(ctx)
	}
	p.tasks.mu.Lock()
	p.tasks.closing = true
	p.tasks.mu.Unlock()
	p.cancel()
	p.tasks.running.Wait()
	if released := p.planeLock.Release(); err == nil {
		err = released
	}
	return err
}

func (p *Process) stopAll(ctx context.Context) error {
	for _, a := range p.alive() {
		p.Stop(a.id, "the data plane is shutting down")
	}
	for {
		left := len(p.alive())
		if left == 0 {
			return nil
		}
		select {
		case <-p.ended:
		case <-time.After(adoptedEvery): // a start that failed ends nothing
		case <-ctx.Done():
			return fmt.Errorf("%d attempts are still alive: %w", left, ctx.Err())
		}
	}
}

func (p *Process) alive() (list []*attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.attempts {
		if a.exit == nil {
			list = append(list, a)
		}
	}
	return list
}
