package engine

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoffPause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		backoff Backoff
		n       uint32
		want    time.Duration
	}{
		{Backoff{}, 3, 0},
		{Backoff{Base: time.Second}, 5, time.Second},
		{Backoff{Base: time.Second, Factor: 2}, 3, 8 * time.Second},
		{Backoff{Base: time.Second, Factor: 2, Cap: 5 * time.Second}, 3, 5 * time.Second},
		{Backoff{Base: time.Minute, Cap: time.Second}, 0, time.Second},
		{Backoff{Base: time.Second, Factor: 0.1}, 3, time.Second}, // a pause never shrinks
		{Backoff{Base: time.Second, Factor: 1e30}, 1, longestPause},
		{Backoff{Base: time.Second, Factor: math.Inf(1)}, 2, longestPause},
		{Backoff{Base: math.MaxInt64, Factor: 2}, 9, longestPause},
	} {
		if got := c.backoff.Pause(c.n); got != c.want {
			t.Errorf("%+v before retry %d: %s, want %s", c.backoff, c.n, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{
			Base:   time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "base")),
			Factor: rapid.Float64Range(0, math.MaxFloat64).Draw(t, "factor"),
			Cap:    time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "cap")),
		}
		last := time.Duration(0)
		for n := range uint32(rapid.IntRange(1, 12).Draw(t, "retries")) {
			pause := b.Pause(n)
			if pause < last || pause > longestPause || b.Cap > 0 && pause > b.Cap {
				t.Fatalf("%+v: pause %d is %s after %s", b, n, pause, last)
			}
			last = pause
		}
	})
}

func TestTraceWithoutEnd(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.block([]string{"create r1 main"})
	s.step(Enqueue{Run: runID("r1"), Spec: ActionSpec{Name: "t", Parent: "a0", Kind: KindTrace, Trace: &TraceEnd{Phase: PhaseSucceeded}}})
	s.settle()
	if row := s.book.row(action("r1/t")); row == nil || row.Ended != s.now {
		t.Errorf("row of the trace: %+v", row)
	}
	for _, p := range s.problems {
		t.Error(p)
	}
}

func TestPhases(t *testing.T) {
	t.Parallel()
	for p := range Phase(12) {
		_, named := map[string]bool{"UNSPECIFIED": true, "UNKNOWN": true}[p.String()]
		if known := p >= PhaseQueued && p <= PhaseRecovered; known == named {
			t.Errorf("phase %d is called %s", p, p)
		}
		if p.Good() && !p.Terminal() {
			t.Errorf("%s is good and not terminal", p)
		}
	}
	if PhasePaused.Terminal() || !PhaseRecovered.Terminal() || PhaseTimedOut.Good() {
		t.Error("PAUSED waits, RECOVERED has ended, TIMED_OUT has no outputs")
	}
}

// TestWaits: the list of reasons is whole, and each but NONE says something to a person.
func TestWaits(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, w := range Waits() {
		if seen[w.String()] {
			t.Errorf("two reasons are called %s", w)
		}
		seen[w.String()] = true
		if w != WaitNone && (w.Reason() == "" || w.Next() == "") {
			t.Errorf("%s has no words", w)
		}
	}
	if len(Waits()) != int(WaitProcesses)+1 || Wait(200).String() != "NONE" {
		t.Error("the list of reasons has a hole")
	}
}

// TestClock: times survive the way to microseconds and back.
func TestClock(t *testing.T) {
	t.Parallel()
	if At(time.Time{}) != 0 || !Time(0).Clock().IsZero() {
		t.Error("no time is 0")
	}
	now := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.FixedZone("", 3600))
	if !At(now).Clock().Equal(now) || At(now).Clock().Location() != time.UTC {
		t.Errorf("%s became %s", now, At(now).Clock())
	}
	if got := OutputDir("base", "a", math.MaxUint32); got != "base/a/4294967295" {
		t.Error(got)
	}
}

// TestLateAnswer: a lookup that is answered again, when its action executes, changes nothing.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.block([]string{"create r1 main key=k", "lookup r1/a0"})
	s.step(LookupDone{ID: action("r1/a0"), Hit: &Pointer{OutputURI: "stale"}})
	if out := s.settle(); !out.Empty() || len(out.Effects) != 0 {
		t.Errorf("a late answer changed %+v", out)
	}
}

// TestTimeNeverGoesBack: a clock that is set back does not make anything older than what came before it.
func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.block([]string{"wait 10s", "create r1 main"})
	s.now -= 5_000_000
	s.block([]string{"enqueue r1/a0 c1 leaf"})
	parent, child := s.book.row(action("r1/a0")), s.book.row(action("r1/c1"))
	if child.Created < parent.Created {
		t.Errorf("the child is of %s, its parent of %s", since(child.Created), since(parent.Created))
	}
}

// TestRestoreDistrusts: rows that no commit of this engine leaves, of a run that is being aborted or of a parent that has ended, are put right
// rather than executed.
func TestRestoreDistrusts(t *testing.T) {
	t.Parallel()
	d := newScript()
	leaf := d.known("leaf")
	running := func(name, parent string) *Action {
		return &Action{Name: name, ParentName: parent, Kind: KindTask, Task: leaf, Phase: PhaseRunning, Attempt: 1, Created: epoch, Queued: epoch, Started: epoch}
	}
	queued := running("q", "gone")
	queued.Phase, queued.Started = PhaseQueued, 0
	d.state.Restore(epoch, &Run{ID: 1, Name: runID("r1")}, []*Action{running("a0", ""), running("c", "gone"), queued})
	d.state.Restore(epoch, &Run{ID: 2, Name: runID("r2"), Aborting: true, AbortReason: "enough"}, []*Action{running("a0", ""), running("c", "a0")})
	d.state.Step(epoch, Tick{})
	for _, p := range check(d.state) {
		t.Error(p)
	}
	for id, want := range map[string]StopCause{"r1/a0": StopNone, "r1/c": StopAbort, "r2/a0": StopAbort, "r2/c": StopAbort} {
		if a := d.state.Find(action(id)); a == nil || a.Stop != want {
			t.Errorf("%s: %+v, want stop %d", id, a, want)
		}
	}
	if queued.Phase != PhaseAborted || d.state.Held() != 4 {
		t.Errorf("the queued child of an ended parent is %s; %d actions are held", queued.Phase, d.state.Held())
	}
}
