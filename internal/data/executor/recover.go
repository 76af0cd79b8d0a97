package executor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/names"
)

// takeOver looks at what is on disk for an attempt that was begun before: one that has ended is told, one that runs is polled
// from now on, one whose runner vanished after it had started the task is lost. False: no runner has come to start anything.
func (p *Process) takeOver(a *attempt) (found bool, err error) {
	// The lock is asked first: a runner writes its record before it gives the lock back.
	held, err := p.folders.isHeld(a.id)
	if err != nil {
		return false, err
	}
	if held {
		p.poll(a)
		return true, nil
	}
	record, ended, err := p.folders.hasEnded(a.id)
	if err != nil {
		return false, err
	}
	if ended {
		p.goDo(func() { p.tellEnded(a, record) })
		return true, nil
	}
	if _, started := p.folders.wasStarted(a.id); started {
		return true, p.lose(a)
	}
	return false, nil
}

// lose settles an attempt that no runner stands beside any more.
func (p *Process) lose(a *attempt) error {
	p.mu.Lock()
	stopped := a.stopped
	p.mu.Unlock()
	record, held, err := p.settle(a.id, stopped)
	if err != nil {
		return err
	}
	if held {
		p.poll(a) // a late runner was faster: it runs
		return nil
	}
	p.goDo(func() { p.tellEnded(a, record) })
	return nil
}

// settle ends what is left of an attempt without a runner and leaves a record in the folder. It holds the attempt's lock
// meanwhile, so that a runner which an earlier life started and which comes late starts nothing.
func (p *Process) settle(id names.Attempt, stopped bool) (record runner.Record, held bool, err error) {
	folder := p.folders.path(id)
	record = runner.Record{Code: -1, Lost: true, Ended: time.Now().UTC()}
	lock, err := runner.Hold(filepath.Join(folder, runner.LockFile))
	switch {
	case errors.Is(err, runner.ErrHeld):
		return record, true, nil
	case errors.Is(err, fs.ErrNotExist): // no folder, so nothing can start in it
		return record, false, nil
	case err != nil:
		return record, false, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if done, ended, err := p.folders.hasEnded(id); ended || err != nil {
		return done, false, err
	}
	task, started := p.folders.wasStarted(id)
	if err := runner.KillLeftovers(task, folder); err != nil {
		return record, false, err
	}
	if err := removeAll(filepath.Join(folder, runner.SecretsDir)); err != nil {
		return record, false, err
	}
	record.Started = task.At
	if !started && stopped { // the stop came before the start
		record.Lost, record.Stopped = false, true
	}
	return record, false, runner.WriteRecord(folder, record)
}

// load is the entry of an attempt, made from the disk when an earlier life began it; nil when there is none.
func (p *Process) load(id names.Attempt) *attempt {
	if check(id) != nil || !p.Known(id) {
		return nil
	}
	a, known, err := p.enter(id)
	if err != nil {
		return nil
	}
	if !known {
		p.takeCharge(a)
		close(a.tried)
	}
	return a
}

// Adopt takes charge of an attempt of an earlier life.
func (p *Process) Adopt(id names.Attempt) {
	p.mu.Lock()
	a, known := p.attempts[id]
	p.mu.Unlock()
	if known {
		p.goDo(func() { _ = p.tellAgain(p.ctx, a) }) // its starter gets the error
		return
	}
	if p.load(id) == nil {
		p.goDo(func() { p.options.Events.Ended(Exit{ID: id, Code: -1, Lost: true, Ended: time.Now().UTC()}) })
	}
}

// poll has the attempt's lock looked at until it is free.
func (p *Process) poll(a *attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.adopted = true
	if !p.polling {
		p.polling = true
		p.goDo(p.pollAdopted)
	}
}

func (p *Process) pollAdopted() {
	ticker := time.NewTicker(adoptedEvery)
	defer ticker.Stop()
	for {
		adopted := p.adopted()
		if len(adopted) == 0 {
			return
		}
		for _, a := range adopted {
			if err := p.look(a); err != nil && !a.complained {
				a.complained = true
				p.options.Logger.Error("an adopted attempt cannot be looked after; it is tried again", "attempt", a.id, "error", err)
			}
		}
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// adopted lists the attempts to poll; when there is none, the polling is over.
func (p *Process) adopted() (list []*attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.attempts {
		if a.adopted && a.exit == nil {
			list = append(list, a)
		}
	}
	p.polling = len(list) > 0
	return list
}

// look asks how one adopted attempt is.
func (p *Process) look(a *attempt) error {
	p.mu.Lock()
	told, stopped := a.started, a.stopped
	p.mu.Unlock()
	if !told {
		if task, started := p.folders.wasStarted(a.id); started {
			p.tellStarted(a, task.At)
		}
	}
	held, err := p.folders.isHeld(a.id)
	switch {
	case err != nil:
		return err
	case held && stopped && !a.signalled:
		a.signalled = true
		return runner.Signal(p.folders.path(a.id))
	case held:
		return nil
	}
	record, ended, err := p.folders.hasEnded(a.id)
	if err != nil {
		return err
	}
	if !ended {
		return p.lose(a)
	}
	p.tellEnded(a, record)
	return nil
}
