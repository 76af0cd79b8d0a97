package engine

import "biplane.dev/biplane/internal/fault"

// finish ends an action for good. What it left unfinished below it is aborted.
func (s *State) finish(a *Action, phase Phase) {
	a.Phase, a.Wait, a.Ended, a.RetryAt = phase, WaitNone, s.now, 0
	if phase == PhaseAborted && a.Error == nil {
		// A parent that runs a task by reference looks at the error alone.
		a.Error = &Error{Code: CodeAborted, Message: abortMessage(a), Kind: ErrorUser}
		if a.ParentName == "" && a.Run.AbortCode != "" {
			a.Error.Code = a.Run.AbortCode
		}
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
	s.abortChildren(a, reason, by)
	for child := a.child; child != nil; { // those that have not ended yet must not keep their parent in memory
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

// abortAsked aborts what somebody named. Its own row tells of it in the commit before the answer, however much there is to abort; what
// lies below follows from that row, also after a restart.
func (s *State) abortAsked(a *Action, reason, by string) {
	if a.Stop == StopAbort || a.doomed || s.living(a) {
		s.abort(a, reason, by)
		return
	}
	a.AbortReason, a.AbortedBy = reason, by
	s.finish(a, PhaseAborted)
}

// abort ends an action and its subtree, because it was asked for or because of the row of something above: what is alive is stopped now
// and ends after its processes have gone; of the others Config.EndsAtOnce end now and the rest soon.
func (s *State) abort(a *Action, reason, by string) {
	if a.Stop == StopAbort || a.doomed {
		return
	}
	a.AbortReason, a.AbortedBy = reason, by
	switch {
	case s.living(a):
		s.stop(a, StopAbort)
	case s.ended < s.config.EndsAtOnce:
		s.ended++
		s.finish(a, PhaseAborted)
		return
	default:
		s.doom(a)
	}
	s.abortChildren(a, reason, by)
}

func (s *State) abortChildren(a *Action, reason, by string) {
	for child := a.child; child != nil; {
		next := child.next // abort may take child out of the list
		s.abort(child, reason, by)
		child = next
	}
}

// doom says of an action that does not live that it will be aborted when its turn comes. Until then nothing happens to it any more: it
// does not become ready, no timer and no answer concerns it, it gets no children. Its row does not tell; that of something above does.
func (s *State) doom(a *Action) {
	a.doomed, a.Wait = true, WaitStop
	s.unready(a)
	s.schedule(a)
	s.leave(a)
	s.release(a)
	s.doomed = append(s.doomed, a)
}

// endDoomed ends as many as may end before the next Take, parents before their children.
func (s *State) endDoomed() {
	for len(s.doomed) > 0 && s.ended < s.config.EndsAtOnce {
		a := s.doomed[0]
		s.doomed[0] = nil
		s.doomed = s.doomed[1:]
		s.ended++
		s.finish(a, PhaseAborted)
		a.doomed = false
	}
	if len(s.doomed) == 0 {
		s.doomed = nil
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
		run.Aborting, run.AbortReason, run.AbortedBy, run.AbortCode = true, in.Reason, in.By, in.Code
		s.out.Runs = append(s.out.Runs, run)
		if run.root != nil {
			s.abortAsked(run.root, in.Reason, in.By)
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
	s.abortAsked(a, in.Reason, in.By)
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
	case a.doomed:
		s.reply(in.Ticket, fault.New(fault.KindPrecondition, "condition %q is being aborted", in.ID.Action))
	default:
		a.Value = in.Value
		s.finish(a, PhaseSucceeded)
		s.reply(in.Ticket, nil)
	}
}
