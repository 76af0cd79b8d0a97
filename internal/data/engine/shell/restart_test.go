package shell

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/names"
)

// mortal is a world that hears nothing more of a plane that has died: what the journal holds is all that is left of it.
type mortal struct {
	*world
	dead *atomic.Bool
}

func (m mortal) Start(e engine.StartAttempt) {
	if !m.dead.Load() {
		m.world.Start(e)
	}
}

func (m mortal) Forget(e engine.ForgetAttempt) {
	if !m.dead.Load() {
		m.world.Forget(e)
	}
}

func (m mortal) Stop(e engine.StopAttempt) {
	if !m.dead.Load() {
		m.world.Stop(e)
	}
}

// program is the code of the root: it makes its children by name, one after the other, and goes on asking until it is told that they
// are made. It says how many it has made when the plane dies.
func (p *plane) program(ctx context.Context, children int) error {
	if _, err := p.shell.Do(ctx, createRun("r1", "plain"), map[string][]byte{"plain": {}}); err != nil {
		return err
	}
	for i := range children {
		task := []string{"plain", "retried", "nap"}[i%3]
		if _, err := p.shell.Do(ctx, enqueue("r1", "a0", fmt.Sprint("c", i), task), map[string][]byte{task: {}}); err != nil {
			return err
		}
	}
	return nil
}

// TestDeathAtAnyCommit: the plane dies right after its nth commit, before it answers or does anything. After the restart the same
// program, which knows nothing, brings the run to its end; nothing is started twice.
func TestDeathAtAnyCommit(t *testing.T) {
	t.Parallel()
	const children = 6
	for n := int64(1); ; n++ {
		p := newPlane(t)
		dead := &atomic.Bool{}
		p.shell.world = mortal{world: p.world, dead: dead}
		ctx, die := context.WithCancel(t.Context())
		atCommit := func(commit int64) {
			if commit == n {
				dead.Store(true)
				die()
			}
		}
		p.db.afterWrite.Store(&atCommit)
		p.world.hold.Store(true) // the root goes on until its program ends
		p.world.onStart = func(e engine.StartAttempt) { p.world.hold.Store(e.ID.Action.Action == names.Root) }
		p.run()
		err := p.program(ctx, children)
		if err == nil {
			p.await("the children to end or the plane to die", func() bool { return dead.Load() || p.childrenEnded(children) })
		}
		survived := !dead.Load()
		die()
		p.close()

		p.open()
		p.run()
		if err := p.program(t.Context(), children); err != nil {
			t.Fatalf("after death at commit %d: %v", n, err)
		}
		p.await("the children to end", func() bool { return p.childrenEnded(children) })
		p.world.end(attempt("r1", names.Root), engine.Outcome{OK: true, OutputURI: "out"})
		p.awaitPhase("r1", names.Root, engine.PhaseSucceeded)
		for id, starts := range p.world.allStarts() {
			if starts != 1 || id.Number != 1 {
				t.Errorf("death at commit %d: %s was started %d times", n, id, starts)
			}
		}
		p.world.mu.Lock()
		for id, j := range p.world.jobs { // what a dead plane did not forget is swept; nothing of it may be alive
			if j.outcome == nil {
				t.Errorf("death at commit %d: %s lives on", n, id)
			}
		}
		p.world.mu.Unlock()
		if held := p.held(); held != 0 {
			t.Errorf("death at commit %d: %d actions are held after the end", n, held)
		}
		p.close()
		if survived {
			if n < children {
				t.Errorf("the program needed only %d commits", n)
			}
			return
		}
	}
}

func (p *plane) childrenEnded(n int) bool {
	for i := range n {
		if row := p.row("r1", fmt.Sprint("c", i)); row == nil || row.Phase != engine.PhaseSucceeded {
			return false
		}
	}
	return true
}

func (p *plane) held() (n int) {
	p.t.Helper()
	if err := p.shell.Inspect(context.Background(), func(s *engine.State, _ Stats) { n = s.Held() }); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// TestLookups: the cache and the run that is recovered from are asked in the journal; what cannot be read is a miss, a recovered condition
// brings its value.
func TestLookups(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.run()
	cached := func(run, key string) *engine.CreateRun {
		c := createRun(run, "plain")
		c.Root.CacheKey = journal.ScopedKey(c.Run.Name.Project, false, key)
		return &c
	}
	p.must(*cached("r1", "k"))
	p.awaitPhase("r1", "a0", engine.PhaseSucceeded)
	p.must(*cached("r2", "k"))
	p.awaitPhase("r2", "a0", engine.PhaseSucceeded)
	row := p.row("r2", "a0")
	if row.CacheStatus != engine.CacheHit || row.OutputURI != "out" || row.From.Run != "p/d/r1" || row.From.Action != "a0" || row.From.Attempt != 1 {
		t.Errorf("not a hit: %+v", row)
	}
	p.world.mu.Lock()
	p.world.gone["out"] = true
	p.world.mu.Unlock()
	p.must(*cached("r3", "k"))
	p.awaitPhase("r3", "a0", engine.PhaseSucceeded)
	if row := p.row("r3", "a0"); row.CacheStatus != engine.CachePopulated {
		t.Errorf("outputs that are gone: %+v", row)
	}

	p.world.mu.Lock()
	clear(p.world.gone)
	p.world.mu.Unlock()
	p.world.hold.Store(true)
	p.must(createRun("s1", "plain"))
	p.awaitPhase("s1", "a0", engine.PhaseRunning)
	p.world.hold.Store(false)
	condition := engine.Enqueue{Run: runName("s1"), Spec: engine.ActionSpec{Name: "gate", Parent: "a0", Kind: engine.KindCondition}}
	p.mustPlain(condition)
	p.must(enqueue("s1", "a0", "c", "plain"))
	p.awaitPhase("s1", "c", engine.PhaseSucceeded)
	p.mustPlain(engine.Signal{ID: attempt("s1", "gate").Action, Value: []byte("yes")})
	p.mustPlain(engine.AbortRun{Run: runName("s1"), Reason: "to be recovered"})
	p.awaitPhase("s1", "a0", engine.PhaseAborted)

	p.world.hold.Store(true)
	from := runName("s1")
	again := createRun("s2", "plain")
	again.Run.RecoverFrom = &from
	p.must(again)
	p.awaitPhase("s2", "a0", engine.PhaseRunning)
	condition.Run = runName("s2")
	p.mustPlain(condition)
	p.must(enqueue("s2", "a0", "c", "plain"))
	p.awaitPhase("s2", "gate", engine.PhaseRecovered)
	p.awaitPhase("s2", "c", engine.PhaseRecovered)
	if row := p.row("s2", "gate"); string(row.Value) != "yes" || row.From.Run != "p/d/s1" {
		t.Errorf("the recovered condition: %+v", row)
	}
	if row := p.row("s2", "c"); row.OutputURI != "out" || p.world.startsOf(attempt("s2", "c")) != 0 {
		t.Errorf("the recovered child: %+v", row)
	}
}

// mustPlain submits a request without a specification.
func (p *plane) mustPlain(in engine.Input) {
	p.t.Helper()
	if _, err := p.shell.Do(p.t.Context(), in, nil); err != nil {
		p.t.Fatalf("%T: %v", in, err)
	}
}
