package engine

// Restore puts an unfinished run back into the state, from its rows: actions in the order of their creation. The effects
// that were under way are derived again. Nothing is admitted before the next Step: what other runs have alive must be put
// back first.
func (s *State) Restore(now Time, run *Run, actions []*Action) {
	if now > s.now {
		s.now = now
	}
	s.addRun(run)
	byName := make(map[string]*Action, len(actions))
	for _, a := range actions {
		a.Run, a.readyIndex, a.timerIndex = run, -1, -1
		byName[a.Name] = a
	}
	var attach func(*Action) // parents first, whatever the order of rows written in one moment
	attach = func(a *Action) {
		if run.open[a.Name] != nil {
			return
		}
		parent := byName[a.ParentName]
		if parent != nil {
			attach(parent)
		}
		s.attach(a, parent)
		if a.ParentName == "" {
			run.root = a
		}
	}
	for _, a := range actions {
		attach(a)
	}
	// Those that execute first: they hold the slots and the reservations.
	for _, a := range actions {
		if a.Phase == PhaseInitializing || a.Phase == PhaseRunning {
			s.resume(a)
		}
	}
	// What was still to be aborted because of something above it, which has ended or is being stopped.
	for _, a := range actions {
		switch {
		case a.Phase.Terminal():
		case a.Stop == StopAbort:
			s.abortChildren(a, a.AbortReason, a.AbortedBy)
		case a.ParentName != "" && a.parent == nil && run.Aborting:
			s.abort(a, run.AbortReason, run.AbortedBy)
		case a.ParentName != "" && a.parent == nil:
			s.abort(a, "its parent "+a.ParentName+" has ended", "")
		}
	}
	if run.Aborting && run.root != nil {
		s.abortAsked(run.root, run.AbortReason, run.AbortedBy)
	}
	// The others last: nothing begins that is to be aborted.
	for _, a := range actions {
		if a.Phase != PhaseInitializing && a.Phase != PhaseRunning && !a.doomed {
			s.requeue(a)
		}
	}
}

func (s *State) resume(a *Action) {
	s.retake(a)
	switch a.Task.Builtin {
	case BuiltinSleep:
	case BuiltinEcho, BuiltinFunction:
		s.effect(RunBuiltin{ID: a.AttemptID(), RunID: a.Run.ID, Task: a.Task, InputURI: a.InputURI(), OutputBase: a.OutputBase})
	default:
		s.take(a)
		s.effect(StartAttempt{
			ID: a.AttemptID(), RunID: a.Run.ID, Task: a.Task, InputURI: a.InputURI(), OutputBase: a.OutputBase,
			Resumed: true, Running: a.Phase == PhaseRunning,
		})
	}
	if a.Stop != StopNone {
		s.effect(StopAttempt{ID: a.AttemptID(), Cause: a.Stop})
	}
	s.schedule(a)
}

func (s *State) requeue(a *Action) {
	switch {
	case a.Phase.Terminal(): // aborted in this very Restore
	case a.Phase == PhasePaused:
		s.schedule(a)
	case a.Wait == WaitBackoff:
		s.retake(a)
		s.schedule(a)
	case a.Attempt > 1:
		s.retake(a)
		s.proceed(a) // what could be taken over was asked for before the first attempt
	default:
		s.begin(a)
	}
}
