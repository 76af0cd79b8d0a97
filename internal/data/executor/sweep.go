package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Sweep stops and removes every attempt of earlier lives that keep does not name. It returns when they are gone, or with
// ctx's error when it is done before; those that are left go with the next sweep.
func (p *Process) Sweep(ctx context.Context, keep func(names.Attempt) bool) error {
	orphans, err := p.claim(keep)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	defer func() {
		for _, a := range orphans {
			p.disclaim(a)
		}
	}()
	for {
		orphans, err = p.sweep(orphans)
		notify(p.wake)
		if err != nil || len(orphans) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ctx.Done():
			return fault.New(fault.KindUnavailable, "the executor is shutting down")
		case <-time.After(adoptedEvery):
		}
	}
}

// claim makes an entry for every orphan, so that nobody starts or adopts it while it goes.
func (p *Process) claim(keep func(names.Attempt) bool) (orphans []*attempt, err error) {
	ids, err := p.folders.all()
	for _, id := range ids {
		if keep(id) {
			continue
		}
		a, known, err := p.enter(id)
		if err != nil {
			return orphans, err
		}
		if !known {
			a.err = fault.New(fault.KindUnavailable, "the attempt was left by an earlier life and is being removed; try again")
			orphans = append(orphans, a)
		}
	}
	return orphans, err
}

func (p *Process) disclaim(a *attempt) {
	p.mu.Lock()
	delete(p.attempts, a.id)
	p.mu.Unlock()
	close(a.tried)
}

// sweep tries once and returns those that are still there.
func (p *Process) sweep(orphans []*attempt) (left []*attempt, err error) {
	for _, a := range orphans {
		gone, failed := p.sweepOne(a.id)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("sweep %s: %w", a.id, failed))
		}
		if !gone {
			left = append(left, a)
			continue
		}
		p.disclaim(a)
	}
	return left, err
}

func (p *Process) sweepOne(id names.Attempt) (gone bool, err error) {
	folder := p.folders.path(id)
	held, err := p.folders.isHeld(id)
	if err != nil {
		return false, err
	}
	if held {
		_ = os.WriteFile(filepath.Join(folder, runner.StopFile), []byte("the data plane does not know this attempt"), 0o600)
		return false, runner.Signal(folder) // a second signal changes nothing
	}
	if _, held, err := p.settle(id, false); held || err != nil {
		return false, err
	}
	return true, p.folders.discard(id)
}
