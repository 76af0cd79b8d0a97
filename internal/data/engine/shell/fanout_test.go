package shell

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/names"
)

// fan makes n children of the run's root, with many requests under way at once.
func (p *plane) fan(run string, n int, task func(i int) string) {
	p.t.Helper()
	next := make(chan int)
	var group sync.WaitGroup
	for range 256 {
		group.Go(func() {
			for i := range next {
				if _, err := p.do(enqueue(run, names.Root, fmt.Sprint("c", i), task(i))); err != nil {
					p.t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

// TestAbortOfManyIsManyCommits: what is aborted with a run ends in more than one commit, so that others are answered in between, and
// without anything that wakes the loop.
func TestAbortOfManyIsManyCommits(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.run()
	p.world.hold.Store(true)
	p.must(createRun("r1", "plain"))
	p.must(enqueue("r1", names.Root, "all", "large")) // the others wait for it
	const n = 1200
	p.fan("r1", n, func(int) string { return "plain" })
	most := 0
	counted := p.reader("r1")
	inCommit := func(int64) {
		before := counted.ended
		counted.read()
		most = max(most, counted.ended-before)
	}
	p.db.afterWrite.Store(&inCommit)
	p.must(engine.AbortRun{Run: runName("r1"), Reason: "enough"})
	p.await("all to end", func() bool {
		held := -1
		if err := p.shell.Inspect(t.Context(), func(s *engine.State, _ Stats) { held = s.Held() }); err != nil {
			t.Fatal(err)
		}
		return held == 0
	})
	p.close()
	if counted.ended != n+1 || most == 0 || most > 600 {
		t.Errorf("%d of %d ended, up to %d in one commit", counted.ended, n+1, most)
	}
}

// reader watches the children of a run's root as the gateway does.
type reader struct {
	plane *plane
	runID int64
	seq   int64
	last  map[string]*journal.Row
	ended int
}

func (p *plane) reader(run string) *reader {
	p.t.Helper()
	info, err := p.journal.Run(context.Background(), runName(run))
	if err != nil {
		p.t.Fatal(err)
	}
	return &reader{plane: p, runID: info.ID, last: map[string]*journal.Row{}}
}

// read takes in what has changed, and complains when a phase goes back or a number does not rise.
func (r *reader) read() {
	const page = 500
	for {
		rows, err := r.plane.journal.Children(context.Background(), r.runID, names.Root, r.seq, page)
		if err != nil {
			r.plane.t.Error(err)
			return
		}
		for _, row := range rows {
			old := r.last[row.Name]
			if row.Seq <= r.seq {
				r.plane.t.Errorf("%s has number %d after %d", row.Name, row.Seq, r.seq)
			}
			if old != nil && (old.Phase.Terminal() || row.Attempt < old.Attempt || row.Attempt == old.Attempt && row.Phase < old.Phase) {
				r.plane.t.Errorf("%s went from %s#%d to %s#%d", row.Name, old.Phase, old.Attempt, row.Phase, row.Attempt)
			}
			if row.Phase.Terminal() && (old == nil || !old.Phase.Terminal()) {
				r.ended++
			}
			r.last[row.Name], r.seq = row, row.Seq
		}
		if len(rows) < page {
			return
		}
	}
}

// follow reads until n children have ended.
func (r *reader) follow(n int) {
	changed, leave := r.plane.journal.Watch(journal.Topic{Run: r.runID, Parent: names.Root})
	defer leave()
	late := time.After(patience)
	for r.read(); r.ended < n; r.read() {
		select {
		case <-changed:
		case <-late:
			r.plane.t.Errorf("a reader saw %d of %d children end", r.ended, n)
			return
		}
	}
}

// TestWideFanOut: a reader that keeps up and one that sleeps through everything both end with all the terminals, and neither sees a
// phase go back (R11, C4, C5).
func TestWideFanOut(t *testing.T) {
	t.Parallel()
	children := 10_000
	if testing.Short() {
		children = 1_000
	}
	p := newPlane(t)
	p.world.onStart = func(e engine.StartAttempt) { p.world.hold.Store(e.ID.Action.Action == names.Root) }
	p.run()
	p.must(createRun("r1", "plain"))
	lively, sleepy := p.reader("r1"), p.reader("r1")
	_, leave := p.journal.Watch(journal.Topic{Run: sleepy.runID, Parent: names.Root}) // and never looks
	defer leave()
	var group sync.WaitGroup
	group.Go(func() { lively.follow(children) })
	p.fan("r1", children, func(i int) string { return []string{"plain", "nap"}[i%2] })
	group.Wait()
	sleepy.read()
	if sleepy.ended != children || len(sleepy.last) != children {
		t.Errorf("the one that slept sees %d of %d children ended", sleepy.ended, children)
	}
	if n := p.world.startsOf(attempt("r1", "c0")); n != 1 {
		t.Errorf("c0 was started %d times", n)
	}
	if held := p.held(); held != 1 {
		t.Errorf("%d actions are held, not only the root", held)
	}
}

// TestFlat: what has ended leaves nothing in memory. Objects are counted, so the test depends on no clock. It is not parallel: the heap
// is everybody's.
func TestFlat(t *testing.T) {
	p := newPlane(t)
	p.world.onStart = func(e engine.StartAttempt) { p.world.hold.Store(e.ID.Action.Action == names.Root) }
	p.run()
	round := func(i int) {
		run := fmt.Sprint("r", i)
		p.must(createRun(run, "plain"))
		p.awaitPhase(run, names.Root, engine.PhaseRunning)
		p.fan(run, 250, func(i int) string { return []string{"plain", "nap", "retried"}[i%3] })
		p.reader(run).follow(250)
		p.world.end(attempt(run, names.Root), engine.Outcome{OK: true, OutputURI: "out"})
		p.awaitPhase(run, names.Root, engine.PhaseSucceeded)
		p.await("all to be forgotten", func() bool { p.world.mu.Lock(); defer p.world.mu.Unlock(); return len(p.world.jobs) == 0 })
		p.world.mu.Lock()
		clear(p.world.starts)
		clear(p.world.forgot)
		p.world.mu.Unlock()
	}
	objects := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapObjects)
	}
	const warm, rounds = 4, 16
	for i := range warm {
		round(i)
	}
	before := objects()
	for i := range rounds {
		round(warm + i)
	}
	grown := objects() - before
	t.Logf("%d objects more after %d actions", grown, rounds*251)
	if grown > rounds*251/4 {
		t.Errorf("%d objects more in memory after %d actions have ended", grown, rounds*251)
	}
	if err := p.shell.Inspect(t.Context(), func(s *engine.State, _ Stats) {
		if s.Load() != (engine.Load{}) || s.NextTimer() != 0 {
			t.Errorf("after the end: %+v, next timer %d", s.Load(), s.NextTimer())
		}
	}); err != nil {
		t.Error(err)
	}
}
