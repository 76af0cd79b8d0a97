package engine

import (
	"errors"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

func (s *State) createRun(in CreateRun) {
	known := in.Known
	if run := s.runs[in.Run.Name]; run != nil {
		known = run.Digest
	} else if run := s.recentRuns[in.Run.Name]; run != nil {
		known = run.Digest
	}
	if known != "" {
		if known == in.Run.Digest {
			s.out.Replies = append(s.out.Replies, Reply{Ticket: in.Ticket, Existed: true})
			return
		}
		s.reply(in.Ticket, fault.New(fault.KindExists, "run %q exists already in %s with other content; choose another name", in.Run.Name.Name, in.Run.Name.Project))
		return
	}
	if s.draining {
		s.reply(in.Ticket, draining())
		return
	}
	if err := s.full(); err != nil {
		s.reply(in.Ticket, err)
		return
	}
	run := in.Run
	run.ID = s.nextRunID
	s.nextRunID++
	run.Created = s.now
	s.addRun(run)
	s.out.NewRuns = append(s.out.NewRuns, NewRun{Run: run, Row: in.Row})
	s.out.Replies = append(s.out.Replies, Reply{Ticket: in.Ticket, Run: run})
	root := s.newAction(run, nil, in.Root)
	run.root = root
	s.begin(root)
}

// ErrDraining is the cause of a refusal of a new run by a plane that drains.
var ErrDraining = errors.New("the data plane is draining")

func draining() error {
	return &fault.Fault{Kind: fault.KindPrecondition, Cause: ErrDraining,
		Message: "this data plane is draining and takes no new runs; use another one, or have its operator take it back (biplane planes drain NAME --undo)"}
}

func (s *State) addRun(run *Run) {
	run.open = map[string]*Action{}
	run.index = -1
	s.runs[run.Name] = run
}

func (s *State) enqueue(in Enqueue) {
	run := s.runs[in.Run]
	if run == nil {
		if s.recentRuns[in.Run] != nil {
			s.reply(in.Ticket, ended(in.Run))
			return
		}
		s.reply(in.Ticket, fault.NotFound("run", in.Run.Name))
		return
	}
	id := names.Action{Run: in.Run, Action: in.Spec.Name}
	if run.open[in.Spec.Name] != nil {
		s.out.Replies = append(s.out.Replies, Reply{Ticket: in.Ticket, Existed: true})
		return
	}
	if in.Known.Action != 0 || s.recentActions[id] != 0 {
		// Whoever asks again has not seen that it ended: tell it once more, or it waits for ever.
		s.out.Touched = append(s.out.Touched, Touched{RunID: run.ID, Action: in.Spec.Name})
		s.out.Replies = append(s.out.Replies, Reply{Ticket: in.Ticket, Existed: true})
		return
	}
	if run.Aborting {
		s.reply(in.Ticket, fault.New(fault.KindAborted, "run %q is being aborted", in.Run.Name))
		return
	}
	parent := run.open[in.Spec.Parent]
	if parent == nil {
		parentID := names.Action{Run: in.Run, Action: in.Spec.Parent}
		if in.Known.Parent != 0 || s.recentActions[parentID] != 0 {
			s.reply(in.Ticket, fault.New(fault.KindAborted, "parent action %q of run %q has ended", in.Spec.Parent, in.Run.Name))
			return
		}
		s.reply(in.Ticket, fault.NotFound("parent action", in.Spec.Parent))
		return
	}
	if parent.Stop == StopAbort || parent.Stop == StopDeadline || parent.doomed {
		s.reply(in.Ticket, fault.New(fault.KindAborted, "parent action %q of run %q is being stopped", in.Spec.Parent, in.Run.Name))
		return
	}
	if parent.Kind != KindTask {
		s.reply(in.Ticket, fault.New(fault.KindPrecondition, "parent action %q is not a task and can have no children", in.Spec.Parent))
		return
	}
	if err := s.full(); err != nil {
		s.reply(in.Ticket, err)
		return
	}
	s.begin(s.newAction(run, parent, in.Spec))
	s.reply(in.Ticket, nil)
}

func ended(run names.Run) error {
	return fault.New(fault.KindAborted, "run %q has ended", run.Name)
}

func (s *State) newAction(run *Run, parent *Action, spec ActionSpec) *Action {
	a := &Action{
		Run: run, Name: spec.Name, ParentName: spec.Parent, Kind: spec.Kind, Group: spec.Group, Task: spec.Task,
		OutputBase: spec.OutputBase, CacheKey: spec.CacheKey, Queue: spec.Queue,
		Sleep: spec.Sleep, Timeout: spec.Timeout, Detail: spec.Detail,
		Phase: PhaseQueued, Attempt: 1, Created: s.now, Queued: s.now, readyIndex: -1, timerIndex: -1, replay: spec.Replay, fresh: true,
	}
	a.SetInputURI(spec.InputURI)
	if spec.Trace != nil {
		a.Phase, a.Started, a.Ended = spec.Trace.Phase, spec.Trace.Started, spec.Trace.Ended
		a.OutputURI, a.Error, a.From = spec.Trace.OutputURI, spec.Trace.Error, spec.Trace.From
		if a.Ended == 0 {
			a.Ended = s.now
		}
		s.recentActions[a.ID()] = a.Phase
		s.mark(a)
		return a
	}
	s.attach(a, parent)
	s.mark(a)
	return a
}

// attach puts an unfinished action into the tree. The first child of a parent makes it lend its slot.
func (s *State) attach(a *Action, parent *Action) {
	s.order++
	a.order = s.order
	a.Run.open[a.Name] = a
	s.actions++
	if parent == nil {
		return
	}
	a.parent, a.depth = parent, parent.depth+1
	a.ParentName = parent.Name // the same text for all its children
	if a.OutputBase == parent.OutputBase {
		a.OutputBase = parent.OutputBase
	}
	a.next = parent.child
	if a.next != nil {
		a.next.prev = a
		if a.input == a.next.input {
			a.input = a.next.input
		}
	}
	parent.child = a
	parent.openChildren++
	if parent.openChildren == 1 {
		s.lend(parent)
	}
}

// detach takes a finished action out. The last child of a parent makes it take its slot back.
func (s *State) detach(a *Action) {
	delete(a.Run.open, a.Name)
	s.actions--
	s.recentActions[a.ID()] = a.Phase
	if p := a.parent; p != nil {
		if a.prev != nil {
			a.prev.next = a.next
		} else {
			p.child = a.next
		}
		if a.next != nil {
			a.next.prev = a.prev
		}
		p.openChildren--
		if p.openChildren == 0 {
			s.reclaim(p)
		}
		a.parent, a.next, a.prev = nil, nil, nil
	}
	if a == a.Run.root {
		a.Run.root = nil
	}
	if len(a.Run.open) == 0 {
		delete(s.runs, a.Run.Name)
		s.recentRuns[a.Run.Name] = a.Run
	}
}

// begin takes an attempt from QUEUED on: asks for outputs that exist already, or makes it ready. It is also what a restart does
// with an action that was queued.
func (s *State) begin(a *Action) {
	switch {
	case a.Phase.Terminal(): // a trace
	case s.recoverable(a) || a.CacheKey != "" && !a.Run.OverwriteCache && a.CacheStatus != CacheSkipped:
		s.ask(a)
	default:
		if a.CacheKey != "" {
			a.CacheStatus = CacheSkipped
		}
		s.proceed(a)
	}
}

func (s *State) recoverable(a *Action) bool {
	return a.Run.RecoverFrom != nil && a.ParentName != "" && !a.Run.ForceRerun[a.Name] && a.Attempt == 1
}

// proceed: nothing can be taken over, so it has to be executed, or signalled.
func (s *State) proceed(a *Action) {
	if a.Kind == KindCondition {
		a.Phase, a.Wait, a.Started = PhasePaused, WaitSignal, s.now
		s.mark(a)
		s.schedule(a)
		if len(a.Detail) > 0 {
			s.effect(PostWebhook{ID: a.ID(), Detail: a.Detail})
		}
		return
	}
	for _, trace := range a.replay {
		s.newAction(a.Run, a, trace)
	}
	a.replay = nil
	switch a.Task.Builtin {
	case BuiltinSleep:
		a.Phase, a.Wait, a.Initialized, a.Started = PhaseRunning, WaitNone, s.now, s.now
		s.mark(a)
		if a.Sleep <= 0 {
			s.attemptOver(a, Outcome{OK: true, At: s.now})
			return
		}
		s.schedule(a)
	case BuiltinEcho, BuiltinFunction:
		a.Phase, a.Wait, a.Initialized, a.Started = PhaseRunning, WaitNone, s.now, s.now
		s.mark(a)
		s.schedule(a)
		s.effect(RunBuiltin{ID: a.AttemptID(), RunID: a.Run.ID, Task: a.Task, InputURI: a.InputURI(), OutputBase: a.OutputBase})
	default:
		s.makeReady(a)
		s.schedule(a)
	}
}
