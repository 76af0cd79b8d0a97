package engine

import (
	"fmt"
	"slices"
	"strings"

	"biplane.dev/biplane/internal/names"
)

// commit settles, and sometimes holds the state against one made anew.
func (s *sim) commit() {
	out := s.settle()
	s.stats.commits++
	s.stats.doomed += len(s.state.doomed)
	for _, a := range out.Actions {
		if a.Wait == WaitReservation {
			s.stats.reserved++
		}
	}
	for _, effect := range out.Effects {
		e, ok := effect.(StartAttempt)
		if !ok || !e.Resumed {
			continue
		}
		a := s.attempts[e.ID]
		switch {
		case a.started == 0 && e.Running: // just made by the driver: the executor has lost it
			s.stats.lost++
			s.told = append(s.told, AttemptEnded{ID: e.ID, Outcome: Outcome{System: true, At: s.now, Error: &Error{Code: "Lost", Message: "gone", Recoverable: true}}})
		case a.started != 0:
			s.told = append(s.told, AttemptStarted{ID: e.ID, At: a.started})
		}
		if a.outcome != nil {
			s.told = append(s.told, AttemptEnded{ID: e.ID, Outcome: *a.outcome})
		}
	}
	if s.pick(6) == 0 && len(s.told) == 0 {
		s.rehearse()
	}
}

// restart is a crash of the plane, with which attempts may be lost, or a commit that failed. What was stepped since the last commit
// has not happened.
func (s *sim) restart(crash bool) {
	s.told = nil
	if crash {
		s.stats.crashes++
		for _, id := range sortedKeys(s.attempts, attemptText) {
			if s.pick(4) == 0 {
				delete(s.attempts, id)
				delete(s.next, id)
			}
		}
	} else {
		s.stats.failed++
	}
	s.crash()
	s.commit() // the shell acts on nothing before this
}

// tellOne lets the executor tell again what it knows of a resumed attempt.
func (s *sim) tellOne() bool {
	if len(s.told) == 0 {
		return false
	}
	i := s.pick(len(s.told))
	input := s.told[i]
	s.told = slices.Delete(s.told, i, i+1)
	s.step(input)
	return true
}

func (s *sim) lookup(id names.Action, gone bool) {
	s.step(s.answer(s.lookups[id], gone))
}

func (s *sim) openActions() (all []*Action) {
	for _, run := range s.state.runs {
		run.Open(func(a *Action) { all = append(all, a) })
	}
	slices.SortFunc(all, func(x, y *Action) int { return strings.Compare(actionText(x.ID()), actionText(y.ID())) })
	return all
}

func (s *sim) abortOne() {
	all := s.openActions()
	if len(all) == 0 {
		return
	}
	s.stats.aborts++
	a := all[s.pick(len(all))]
	if s.pick(4) == 0 {
		s.step(AbortRun{Run: a.Run.Name, Reason: "chance", By: "ann", Ticket: "abort"})
		return
	}
	s.step(AbortAction{ID: a.ID(), Reason: "chance", By: "ann", Ticket: "abort"})
}

func (s *sim) signalOne() bool {
	for _, a := range s.openActions() {
		if a.Kind == KindCondition && a.Phase == PhasePaused {
			s.stats.signals++
			s.step(Signal{ID: a.ID(), Value: []byte("yes"), Ticket: "signal"})
			return true
		}
	}
	return false
}

// nonsense is what comes twice, too late, or from somebody confused.
func (s *sim) nonsense() {
	all := s.openActions()
	if len(all) == 0 {
		s.step(AbortAction{ID: action("r1/a0"), Ticket: "abort"})
		s.step(Enqueue{Run: runID("r1"), Spec: ActionSpec{Name: "late", Parent: "a0", Kind: KindTask, Task: s.tasks[0]}, Ticket: "enqueue"})
		return
	}
	a := all[s.pick(len(all))]
	switch s.pick(7) {
	case 0:
		s.step(LookupDone{ID: names.Action{Run: a.Run.Name, Action: "nobody"}, Hit: &Pointer{}})
	case 6:
		if a.Wait != WaitLookup { // an answer that comes twice
			s.step(LookupDone{ID: a.ID(), Hit: &Pointer{OutputURI: "stale"}})
		}
	case 1:
		s.step(AttemptEnded{ID: names.Attempt{Action: a.ID(), Number: a.Attempt + 7}, Outcome: Outcome{OK: true, At: s.now}})
	case 2:
		s.step(AttemptStarted{ID: names.Attempt{Action: a.ID(), Number: a.Attempt - 1}, At: s.now})
	case 3:
		s.step(Signal{ID: a.Run.rootID(), Value: []byte("x"), Ticket: "signal"})
	case 4: // again, with a parent that may have ended
		spec, _ := s.plan(a.Name)
		spec.Parent = a.ParentName
		s.step(Enqueue{Run: a.Run.Name, Spec: spec, Ticket: "enqueue"})
	case 5: // an action that has ended
		id := names.Action{Run: a.Run.Name, Action: childName("a0", 0)}
		if row := s.book.row(id); row != nil && row.Phase.Terminal() {
			s.enqueueChild(names.Attempt{Action: a.Run.rootID()}, 0)
			s.step(AttemptEnded{ID: names.Attempt{Action: id, Number: row.Attempt}, Outcome: Outcome{OK: true, At: s.now}})
		}
	}
}

func (r *Run) rootID() names.Action { return names.Action{Run: r.Name, Action: names.Root} }

// calm lets the world answer everything, until every run has ended.
func (s *sim) calm() {
	for range 3000 {
		s.commit()
		if len(s.problems) > 0 || s.state.Load().Runs == 0 && len(s.attempts) == 0 && len(s.told) == 0 {
			return
		}
		moved := s.tellOne()
		for _, id := range sortedKeys(s.lookups, actionText) {
			s.lookup(id, false)
			moved = true
		}
		for _, id := range sortedKeys(s.builtins, attemptText) {
			s.end(id)
			moved = true
		}
		for _, id := range sortedKeys(s.attempts, attemptText) {
			if s.advance(id, false) {
				moved = true
			}
		}
		if moved {
			continue
		}
		if next := s.state.NextTimer(); next != 0 {
			s.now = next
			s.step(Tick{})
		} else if !s.signalOne() {
			break
		}
	}
	var stuck []string
	for _, a := range s.openActions() {
		stuck = append(stuck, fmt.Sprintf("%s#%d %s %s stop %d", actionText(a.ID()), a.Attempt, a.Phase, s.state.Explain(a), a.Stop))
	}
	s.problem("the runs do not end: %s; outside %v", strings.Join(stuck, ", "), keysOf(s.attempts))
}

func keysOf(m map[names.Attempt]*attempt) (all []string) {
	for _, id := range sortedKeys(m, attemptText) {
		all = append(all, attemptText(id))
	}
	return all
}
