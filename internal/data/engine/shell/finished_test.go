package shell

import (
	"fmt"
	"testing"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/names"
)

func TestFinishedNeverForgetsAndSeldomErrs(t *testing.T) {
	t.Parallel()
	f := newFinished(5)
	for i := range finishedNames {
		f.add(int64(5+i%3), fmt.Sprint("c", i))
	}
	if !f.full() {
		t.Error("it is not full")
	}
	for i := range finishedNames {
		if !f.perhaps(int64(5+i%3), fmt.Sprint("c", i)) {
			t.Fatalf("c%d is forgotten", i)
		}
	}
	wrong := 0
	for i := range 100_000 {
		if f.perhaps(5, fmt.Sprint("new", i)) {
			wrong++
		}
	}
	if wrong > 1000 {
		t.Errorf("%d of 100,000 new names are taken for known ones", wrong)
	}
	if !f.perhaps(4, "new") {
		t.Error("a run from before is taken for known")
	}
}

// TestNewNamesNeedNoJournal: children are enqueued without a question to the journal, unless their names, or those of their run, may be
// there: after their end, after a restart, after the filter was full.
func TestNewNamesNeedNoJournal(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.run()
	p.world.onStart = func(e engine.StartAttempt) { p.world.hold.Store(e.ID.Action.Action == names.Root) }
	p.must(createRun("r1", "plain"))
	p.db.failReads.Store(true)
	p.must(enqueue("r1", names.Root, "c1", "nap"))
	if _, err := p.do(enqueue("r1", names.Root, "c1", "nap")); err == nil {
		t.Error("an action that has ended was not asked for")
	}
	p.db.failReads.Store(false)
	again := func() {
		t.Helper()
		if reply := p.must(enqueue("r1", names.Root, "c1", "nap")); !reply.Existed {
			t.Error("c1 was made twice")
		}
	}
	again()
	if err := p.shell.Inspect(t.Context(), func(*engine.State, Stats) { p.shell.finished.names = finishedNames }); err != nil {
		t.Fatal(err)
	}
	p.must(enqueue("r1", names.Root, "c2", "nap"))
	again()
	p.must(createRun("r2", "plain"))
	p.must(enqueue("r2", names.Root, "c1", "nap"))
	p.close()
	p.open()
	p.run()
	again()
}
