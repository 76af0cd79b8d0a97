package engine

import (
	"testing"
	"time"

	"biplane.dev/biplane/internal/names"
)

// The traces of a recovered run are there before the code that asks for them, and only under an action that is executed.
func TestReplayedTraces(t *testing.T) {
	t.Parallel()
	source := runID("source")
	replay := func(parent, name string) []ActionSpec {
		from := &Pointer{Run: "p/d/source", Action: name, Attempt: 1, OutputURI: "source/" + name}
		return []ActionSpec{{
			Name: name, Parent: parent, Kind: KindTrace, InputURI: "in", OutputBase: "base",
			Trace: &TraceEnd{Phase: PhaseRecovered, OutputURI: from.OutputURI, From: from},
		}}
	}
	task := &Task{Digest: "digest", Name: "task"}
	s := New(Config{CPUMillis: 4000, Memory: 1 << 30, DefaultCPUMillis: 1000, DefaultMemory: 1}, 1)
	now := At(time.Unix(1000, 0))
	run := &Run{Name: runID("new"), Digest: "request", RecoverFrom: &source}
	step := func(in Input) Output {
		s.Step(now, in)
		return s.Take()
	}
	child := func(name string) ActionSpec {
		return ActionSpec{Name: name, Parent: names.Root, Kind: KindTask, Task: task, InputURI: "in", OutputBase: "base", Replay: replay(name, "of-"+name)}
	}

	out := step(CreateRun{Run: run, Root: ActionSpec{Name: names.Root, Kind: KindTask, Task: task, OutputBase: "base", Replay: replay(names.Root, "of-root")}})
	trace := only(t, out, "of-root")
	if trace.Phase != PhaseRecovered || trace.OutputURI != "source/of-root" || trace.From.Action != "of-root" || trace.Ended != now || trace.ParentName != names.Root {
		t.Errorf("the root's trace: %+v", trace)
	}
	out = step(Enqueue{Run: run.Name, Spec: ActionSpec{Name: "of-root", Parent: names.Root, Kind: KindTrace, Trace: &TraceEnd{Phase: PhaseSucceeded}}, Known: Known{Action: PhaseRecovered}})
	if len(out.Replies) != 1 || !out.Replies[0].Existed {
		t.Errorf("the code told a trace that it has replayed: %+v", out.Replies)
	}

	for _, name := range []string{"done", "todo"} {
		out = step(Enqueue{Run: run.Name, Spec: child(name)})
		only(t, out, name)
	}
	out = step(LookupDone{ID: names.Action{Run: run.Name, Action: "done"}, Recovered: &Pointer{Run: "p/d/source", Action: "done", Attempt: 1, OutputURI: "source/done"}})
	if done := only(t, out, "done"); done.Phase != PhaseRecovered {
		t.Errorf("the child that succeeded: %+v", done)
	}
	out = step(LookupDone{ID: names.Action{Run: run.Name, Action: "todo"}})
	if len(out.Actions) != 2 {
		t.Fatalf("the child that is executed: %d rows, want it and its trace", len(out.Actions))
	}
	// The next attempt finds the trace by name; it is not made again.
	step(AttemptStarted{ID: names.Attempt{Action: names.Action{Run: run.Name, Action: "todo"}, Number: 1}, At: now})
	out = step(AttemptEnded{ID: names.Attempt{Action: names.Action{Run: run.Name, Action: "todo"}, Number: 1}, Outcome: Outcome{At: now, Error: &Error{Code: "E"}}})
	only(t, out, "todo")
}

func only(t *testing.T, out Output, name string) *Action {
	t.Helper()
	var found *Action
	for _, a := range out.Actions {
		if a.Name == name {
			found = a
		} else if a.Name != names.Root {
			t.Errorf("a row of %q beside that of %q", a.Name, name)
		}
	}
	if found == nil {
		t.Fatalf("no row of %q", name)
	}
	return found
}
