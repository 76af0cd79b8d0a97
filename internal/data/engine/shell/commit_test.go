package shell

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// poll waits for what no signal tells of.
func (p *plane) poll(what string, ok func() bool) {
	p.t.Helper()
	for late := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			p.t.Errorf("waited in vain for %s", what)
			return
		}
	}
}

func (p *plane) pending() int {
	p.shell.inbox.mu.Lock()
	defer p.shell.inbox.mu.Unlock()
	return p.shell.inbox.pending
}

// TestGroupCommit: what gathers while a commit is under way is committed in one.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	p.run()
	p.must(createRun("r1", "plain"))
	p.awaitPhase("r1", "a0", engine.PhaseRunning)
	before := p.db.writes.Load()
	gate := make(chan struct{})
	p.db.gate.Store(&gate)
	const children = 1000
	var group sync.WaitGroup
	var failed atomic.Int64
	ask := func(i int) {
		group.Go(func() {
			if _, err := p.do(enqueue("r1", "a0", fmt.Sprint("c", i), "plain")); err != nil {
				failed.Add(1)
			}
		})
	}
	ask(0)
	p.poll("the first commit to begin", func() bool { return p.db.atGate.Load() > 0 })
	for i := range children - 1 {
		ask(i + 1)
	}
	p.poll("the others to gather", func() bool { return p.pending() == children-1 })
	p.db.gate.Store(nil)
	close(gate)
	group.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d enqueues failed", failed.Load())
	}
	// Two for the enqueues, some for the starts that are told meanwhile.
	if commits := p.db.writes.Load() - before; commits > 12 {
		t.Errorf("%d commits for %d enqueues", commits, children)
	}
}

// TestSameChild: asked for a thousand times at once it is made once, and started once (R9, C7).
func TestSameChild(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	p.run()
	p.must(createRun("r1", "plain"))
	var group sync.WaitGroup
	var made, existed, failed atomic.Int64
	for range 1000 {
		group.Go(func() {
			reply, err := p.do(enqueue("r1", "a0", "c", "plain"))
			switch {
			case err != nil:
				failed.Add(1)
			case reply.Existed:
				existed.Add(1)
			default:
				made.Add(1)
			}
		})
	}
	group.Wait()
	if made.Load() != 1 || existed.Load() != 999 || failed.Load() != 0 {
		t.Errorf("made %d, existed %d, failed %d", made.Load(), existed.Load(), failed.Load())
	}
	p.awaitPhase("r1", "c", engine.PhaseRunning)
	p.world.end(attempt("r1", "c"), engine.Outcome{OK: true, OutputURI: "out"})
	p.awaitPhase("r1", "c", engine.PhaseSucceeded)
	seq := p.row("r1", "c").Seq
	if reply := p.must(enqueue("r1", "a0", "c", "plain")); !reply.Existed {
		t.Error("a finished child was made again")
	}
	if row := p.row("r1", "c"); row.Seq <= seq || row.Phase != engine.PhaseSucceeded {
		t.Errorf("a finished child that is asked for again is not told again: seq %d after %d", row.Seq, seq)
	}
	if n := p.world.startsOf(attempt("r1", "c")); n != 1 {
		t.Errorf("started %d times", n)
	}
}

// TestCommitFails: while the disk is broken requests are refused and nothing of them happens; what ended meanwhile is recorded when it
// is whole again, without a restart (R1). Nothing is started that no row says is started.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	p.world.onStart = func(e engine.StartAttempt) {
		if row := p.row(e.ID.Name, e.ID.Action.Action); row == nil || row.Attempt != e.ID.Number || row.Phase != engine.PhaseInitializing && row.Phase != engine.PhaseRunning {
			t.Errorf("%s is started, its row is %+v", e.ID, row)
		}
	}
	p.run()
	p.must(createRun("r1", "plain"))
	p.must(enqueue("r1", "a0", "c1", "plain"))
	p.must(enqueue("r1", "a0", "c2", "retried"))
	p.must(enqueue("r1", "a0", "c0", "delayed"))
	p.awaitPhase("r1", "c0", engine.PhaseRunning)
	p.world.end(attempt("r1", "c0"), engine.Outcome{Error: &engine.Error{Code: "E1", Recoverable: true}})
	p.await("the pause", func() bool { return p.row("r1", "c0").Wait == engine.WaitBackoff })
	p.must(enqueue("r1", "a0", "c3", "large"))
	p.must(enqueue("r1", "a0", "late", "patient")) // behind the large one
	p.awaitPhase("r1", "c2", engine.PhaseRunning)

	p.db.failWrites.Store(true)
	for i := range 3 {
		if _, err := p.do(enqueue("r1", "a0", fmt.Sprint("refused", i), "plain")); !fault.Is(err, fault.KindUnavailable) {
			t.Errorf("enqueue with a broken disk: %v", err)
		}
	}
	p.world.end(attempt("r1", "c1"), engine.Outcome{OK: true, OutputURI: "out"})
	p.world.end(attempt("r1", "c2"), engine.Outcome{Error: &engine.Error{Code: "E1", Recoverable: true}})
	p.clock.Store(int64(2 * time.Hour)) // the patient one's time has passed, and the pause, when the disk is whole again
	if _, err := p.do(createRun("r2", "plain")); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("create with a broken disk: %v", err)
	}
	if n := p.world.forgot[attempt("r1", "c1")]; n != 0 {
		t.Error("an attempt is forgotten whose end is not recorded")
	}
	p.db.failWrites.Store(false)

	p.awaitPhase("r1", "c1", engine.PhaseSucceeded)
	p.awaitPhase("r1", "late", engine.PhaseTimedOut)
	p.await("the second attempt", func() bool { row := p.row("r1", "c2"); return row.Attempt == 2 && row.Phase == engine.PhaseRunning })
	p.await("the attempt after the pause", func() bool { row := p.row("r1", "c0"); return row.Attempt == 2 })
	if row := p.row("r1", "refused0"); row != nil {
		t.Errorf("a refused action has a row: %+v", row)
	}
	p.must(enqueue("r1", "a0", "refused0", "plain"))
	for _, id := range []names.Attempt{attempt("r1", "c1"), attempt("r1", "c2")} {
		if n := p.world.startsOf(id); n != 1 {
			t.Errorf("%s was started %d times", id, n)
		}
	}
	var failures uint64
	if err := p.shell.Inspect(t.Context(), func(_ *engine.State, stats Stats) { failures = stats.FailedCommits }); err != nil || failures == 0 {
		t.Errorf("failed commits counted: %d, %v", failures, err)
	}
}

// TestRowsWithoutEffect: what a state made anew changes is written at once, even if nothing else ever comes.
func TestRowsWithoutEffect(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	p.run()
	p.must(createRun("r1", "plain"))
	gate := engine.Enqueue{Run: runName("r1"), Spec: engine.ActionSpec{Name: "gate", Parent: "a0", Kind: engine.KindCondition, Timeout: time.Hour}}
	if _, err := p.shell.Do(t.Context(), gate, nil); err != nil {
		t.Fatal(err)
	}
	p.db.failWrites.Store(true)
	if _, err := p.do(enqueue("r1", "a0", "c", "plain")); !fault.Is(err, fault.KindUnavailable) {
		t.Fatal(err)
	}
	p.clock.Store(int64(2 * time.Hour))
	p.db.failWrites.Store(false)
	p.awaitPhase("r1", "gate", engine.PhaseTimedOut)
}

// TestUnreadableJournal: a batch for which the journal cannot be asked is refused, but what it tells is not lost.
func TestUnreadableJournal(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	t.Cleanup(p.close)
	create := &request{input: createRun("r1", "plain"), specs: map[string][]byte{"plain": {}}, reply: make(chan engine.Reply, 1)}
	p.shell.turn(t.Context(), []any{create})
	if reply := <-create.reply; reply.Err != nil {
		t.Fatal(reply.Err)
	}
	p.db.failReads.Store(true)
	refused := &request{input: createRun("r2", "plain"), reply: make(chan engine.Reply, 1)}
	p.shell.turn(t.Context(), []any{
		refused, engine.AttemptEnded{ID: attempt("r1", "a0"), Outcome: engine.Outcome{OK: true, OutputURI: "out"}},
	})
	p.db.failReads.Store(false)
	if reply := <-refused.reply; !fault.Is(reply.Err, fault.KindUnavailable) {
		t.Errorf("the request got %v", reply.Err)
	}
	if row := p.row("r1", "a0"); row.Phase != engine.PhaseSucceeded {
		t.Errorf("the attempt's end is lost: %s", row.Phase)
	}
}

// TestStaleAnswer: an answer that a state asked for which a failed commit has undone is not taken for the new state's.
func TestStaleAnswer(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.world.hold.Store(true)
	t.Cleanup(p.close)
	create := createRun("r1", "plain")
	create.Root.CacheKey = "k"
	asked := &request{input: create, specs: map[string][]byte{"plain": {}}, reply: make(chan engine.Reply, 1)}
	p.shell.turn(t.Context(), []any{asked})
	before := p.shell.lookups.life
	if err := p.shell.anew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(p.shell.lookups.queue); n != 1 {
		t.Errorf("%d lookups are asked for one action", n)
	}
	done := engine.LookupDone{ID: attempt("r1", "a0").Action, Hit: &engine.Pointer{OutputURI: "stale"}}
	p.shell.turn(t.Context(), []any{answered{LookupDone: done, life: before}})
	if row := p.row("r1", "a0"); row.Phase != engine.PhaseQueued {
		t.Errorf("the stale answer was taken: %s", row.Phase)
	}
	p.shell.turn(t.Context(), []any{answered{LookupDone: done, life: p.shell.lookups.life}})
	if row := p.row("r1", "a0"); row.CacheStatus != engine.CacheHit {
		t.Errorf("the answer was not taken: %s", row.Phase)
	}
}

// TestRefusals: a full inbox and a loop that has ended answer at once.
func TestRefusals(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.shell.inbox.limit = 0
	if _, err := p.do(createRun("r1", "plain")); !fault.Is(err, fault.KindExhausted) {
		t.Errorf("a full inbox answers %v", err)
	}
	p.shell.inbox.limit = 10
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.shell.Do(ctx, createRun("r1", "plain"), nil); err == nil {
		t.Error("a caller that has gone gets an answer")
	}
	p.run()
	p.stop()
	p.stop = nil
	if _, err := p.do(createRun("r2", "plain")); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("after the end: %v", err)
	}
	if err := p.shell.Inspect(t.Context(), func(*engine.State, Stats) {}); !fault.Is(err, fault.KindUnavailable) {
		t.Errorf("after the end: %v", err)
	}
}
