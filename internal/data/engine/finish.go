package engine

import "biplane.dev/biplane/internal/fault"

// finish ends an action for good. What it left unfinished below it is aborted.
func (s *State) finish(a *Action, phase Phase) {
	a.Phase, a.Wait, a.Ended, a.RetryAt = phase, WaitNone, s.now, 0
	if phase == PhaseAborted && a.Error == nil {
		// A parent that runs a task by reference looks at the error alone.
		a.Error = &Error{Code: CodeAborted, Message: abortMessage(a), Kind: ErrorUser}
	}
	s.unready(a)
	s.schedule(a)
	s.leave(a)
	s.release(a)
	s.mark(a)
	reason, by := "its parent "+a.Name+" has ended", ""
	if phase == PhaseAborted && a.AbortReason != "" {
		reason, by = a.AbortReason, a.AbortedBy
	}
	for child := a.child; child != nil; {
		next := child.next // abort may take child out of the list
		s.abort(child, reason, by)
		child = next
	}
	for child := a.child; child != nil; { // those that still live must not keep their parent in memory
		next := child.next
		child.parent, child.next, child.prev = nil, nil, nil
		child = next
	}
	a.child, a.openChildren = nil, 0
	s.detach(a)
}

func abortMessage(a *Action) string {
	if a.AbortReason == "" {
		return "aborted"
	}
	return "aborted: " + a.AbortReason
}

// abort ends an action and its subtree: at once what is not alive, after its processes have gone what is.
func (s *State) abort(a *Action, reason, by string) {
	if a.Stop == StopAbort {
		return
	}
	a.AbortReason, a.AbortedBy = reason, by
	if !s.living(a) {
		s.finish(a, PhaseAborted)
		return
	}
	s.stop(a, StopAbort)
	for child := a.child; child != nil; {
		next := child.next
		s.abort(child, reason, by)
		child = next
	}
}

// living: something of the attempt may exist outside, and its end will be told.
func (s *State) living(a *Action) bool {
	return a.admitted || a.Kind == KindTask && a.Task.Builtin > BuiltinSleep && a.Phase == PhaseRunning
}

func (s *State) stop(a *Action, cause StopCause) {
	if a.Stop >= cause {
		return
	}
	first := a.Stop == StopNone
	a.Stop, a.Wait = cause, WaitStop
	s.mark(a)
	s.schedule(a)
	if first {
		s.effect(StopAttempt{ID: a.AttemptID(), Cause: cause})
	}
}

func (s *State) abortRun(in AbortRun) {
	run := s.runs[in.Run]
	if run == nil {
		if s.recentRuns[in.Run] != nil {
			s.reply(in.Ticket, nil)
			return
		}
		s.reply(in.Ticket, fault.NotFound("unfinished run", in.Run.Name))
		return
	}
	if !run.Aborting {
		run.Aborting, run.AbortReason, run.AbortedBy = true, in.Reason, in.By
		s.out.Runs = append(s.out.Runs, run)
		if run.root != nil {
			s.abort(run.root, in.Reason, in.By)
		}
	}
	s.reply(in.Ticket, nil)
}

func (s *State) abortAction(in AbortAction) {
	a := s.Find(in.ID)
	if a == nil {
		if s.recentActions[in.ID] != 0 {
			s.reply(in.Ticket, fault.New(fault.KindPrecondition, "action %q has ended already", in.ID.Action))
			return
		}
		s.reply(in.Ticket, fault.NotFound("unfinished action", in.ID.Action))
		return
	}
	if a == a.Run.root {
		s.abortRun(AbortRun{Ticket: in.Ticket, Run: in.ID.Run, Reason: in.Reason, By: in.By})
		return
	}
	s.abort(a, in.Reason, in.By)
	s.reply(in.Ticket, nil)
}

func (s *State) signal(in Signal) {
	a := s.Find(in.ID)
	switch {
	case a == nil && s.recentActions[in.ID] != 0:
		s.reply(in.Ticket, fault.New(fault.KindPrecondition, "condition %q has ended already", in.ID.Action))
	case a == nil:
		s.reply(in.Ticket, fault.NotFound("unfinished condition", in.ID.Action))
	case a.Kind != KindCondition:
		s.reply(in.Ticket, fault.New(fault.KindPrecondition, "action %q is not a condition", in.ID.Action))
	default:
		a.Value = in.Value
		s.finish(a, PhaseSucceeded)
		s.reply(in.Ticket, nil)
	}
}
