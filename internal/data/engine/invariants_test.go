package engine

import "fmt"

// check recomputes from scratch what the state keeps up to date by increments, and says where they differ.
func check(s *State) (problems []string) {
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	actions, alive, holding := 0, 0, 0
	var cpu, memory int64
	timers, ready, waiting := 0, 0, 0
	for name, run := range s.runs {
		if len(run.open) == 0 || run.Name != name {
			problem("run %s has %d open actions", name.Name, len(run.open))
		}
		active, children := 0, map[*Action]int32{}
		for name, a := range run.open {
			actions++
			if a.Phase.Terminal() || a.Name != name || a.Run != run {
				problem("%s is open and %s", a.Name, a.Phase)
			}
			if a.parent != nil {
				children[a.parent]++
			}
			process := a.Kind == KindTask && a.Task.Builtin == BuiltinNone && (a.Phase == PhaseInitializing || a.Phase == PhaseRunning)
			if a.admitted != process {
				problem("%s is %s and admitted is %v", a.Name, a.Phase, a.admitted)
			}
			if a.holds != (a.admitted && a.openChildren == 0) {
				problem("%s: admitted %v, %d open children, holds %v", a.Name, a.admitted, a.openChildren, a.holds)
			}
			if a.admitted {
				alive++
			}
			if a.holds {
				active++
				c, m := s.request(a.Task)
				cpu, memory = cpu+c, memory+m
			}
			if (a.due() != 0) != (a.timerIndex >= 0) || a.timerIndex >= 0 && (s.timers[a.timerIndex] != a || a.timerAt != a.due()) {
				problem("%s is due at %d; timer %d at %d", a.Name, a.due(), a.timerIndex, a.timerAt)
			}
			if a.timerIndex >= 0 {
				timers++
			}
			if (a.Wait == WaitSlot) != (a.readyIndex >= 0) || a.readyIndex >= 0 && run.ready[a.readyIndex] != a {
				problem("%s waits for %s; place among the ready is %d", a.Name, a.Wait, a.readyIndex)
			}
			if a.readyIndex >= 0 {
				ready++
			}
			if a.Wait == WaitReservation {
				waiting++
			}
			if why := s.Explain(a); a.Phase != PhaseRunning && (why == WaitNone || why.Reason() == "" || why.Next() == "" || why.String() == "") {
				problem("%s is %s and nothing explains why", a.Name, a.Phase)
			}
		}
		for _, a := range run.open {
			if a.openChildren != children[a] {
				problem("%s counts %d open children of %d", a.Name, a.openChildren, children[a])
			}
			listed := int32(0)
			for c := a.child; c != nil; c = c.next {
				listed++
				if c.parent != a || run.open[c.Name] != c || c.next != nil && c.next.prev != c {
					problem("%s is wrongly listed below %s", c.Name, a.Name)
				}
			}
			if listed != a.openChildren {
				problem("%s lists %d children of %d", a.Name, listed, a.openChildren)
			}
			if a.parent != nil && run.open[a.parent.Name] != a.parent {
				problem("%s keeps its finished parent %s in memory", a.Name, a.parent.Name)
			}
		}
		if run.active != active {
			problem("run %s counts %d slots of %d", run.Name.Name, run.active, active)
		}
		holding += active
		eligible := len(run.ready) > 0 && (run.MaxConcurrency == 0 || active < int(run.MaxConcurrency))
		if eligible != (run.index >= 0) || run.index >= 0 && s.readyRuns[run.index] != run {
			problem("run %s: eligible %v, place %d", run.Name.Name, eligible, run.index)
		}
		if run.root != nil && run.open[run.root.Name] != run.root {
			problem("run %s keeps its finished root", run.Name.Name)
		}
	}
	want := Load{Runs: len(s.runs), Actions: actions, Alive: alive, Holding: holding, CPUMillis: cpu, Memory: memory}
	if s.Load() != want || s.Held() != actions {
		problem("load is %+v, recomputed %+v", s.Load(), want)
	}
	if len(s.timers) != timers {
		problem("%d timers for %d actions", len(s.timers), timers)
	}
	if len(s.timers) > 0 && s.timers[0].timerAt <= s.now {
		problem("the next timer (%d) is in the past (%d)", s.timers[0].timerAt, s.now)
	}
	total := 0
	for _, run := range s.runs {
		total += len(run.ready)
	}
	if total != ready {
		problem("%d ready entries for %d actions", total, ready)
	}
	problems = append(problems, checkReservations(s, waiting)...)
	if len(s.readyRuns) > 0 && holding == 0 {
		problem("nothing holds a slot and %d runs have something ready", len(s.readyRuns))
	}
	return problems
}

func checkReservations(s *State, waiting int) (problems []string) {
	queued, executing := 0, map[string]string{}
	for _, run := range s.runs {
		for _, a := range run.open {
			if a.admitted && a.Task.Serialize && a.CacheKey != "" && !run.OverwriteCache {
				if other := executing[a.CacheKey]; other != "" {
					problems = append(problems, fmt.Sprintf("%s and %s both compute %s", other, actionText(a.ID()), a.CacheKey))
				}
				executing[a.CacheKey] = actionText(a.ID())
			}
		}
	}
	for key, r := range s.reservations {
		if !isOpen(r.holder) || !r.holder.reserved || r.holder.CacheKey != key {
			problems = append(problems, fmt.Sprintf("reservation of %s is held by %s, which is %s", key, r.holder.Name, r.holder.Phase))
		}
		for e := r.waiters.Front(); e != nil; e = e.Next() {
			w := e.Value.(*Action)
			queued++
			if !isOpen(w) || w.Wait != WaitReservation || w.CacheKey != key {
				problems = append(problems, fmt.Sprintf("%s, which is %s, is kept among those that wait for %s", w.Name, w.Phase, key))
			}
		}
	}
	if queued != waiting {
		problems = append(problems, fmt.Sprintf("%d actions wait for a reservation, %d are in a queue", waiting, queued))
	}
	return problems
}

func isOpen(a *Action) bool { return a.Run.open[a.Name] == a }
