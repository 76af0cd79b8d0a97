package engine

import "container/heap"

// readyHeap orders a run's ready actions: deepest first, so that a tree of nested parents finishes branches before it opens new ones, then
// in order of arrival.
type readyHeap []*Action

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].depth != h[j].depth {
		return h[i].depth > h[j].depth
	}
	return h[i].order < h[j].order
}
func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].readyIndex, h[j].readyIndex = int32(i), int32(j)
}
func (h *readyHeap) Push(x any) {
	a := x.(*Action)
	a.readyIndex = int32(len(*h))
	*h = append(*h, a)
}
func (h *readyHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.readyIndex = -1
	return last
}

// runHeap orders the runs that have something ready: the one with the fewest slots first, then the one served longest ago.
type runHeap []*Run

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	if h[i].active != h[j].active {
		return h[i].active < h[j].active
	}
	if h[i].served != h[j].served {
		return h[i].served < h[j].served
	}
	return h[i].ID < h[j].ID
}
func (h runHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *runHeap) Push(x any) {
	r := x.(*Run)
	r.index = len(*h)
	*h = append(*h, r)
}
func (h *runHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.index = -1
	return last
}

// request is what an attempt takes of the machine. More than the whole machine counts as the whole machine: the task runs
// alone.
func (s *State) request(t *Task) (cpu, memory int64) {
	cpu, memory = t.CPUMillis, t.Memory
	if cpu == 0 {
		cpu = s.config.DefaultCPUMillis
	}
	if memory == 0 {
		memory = s.config.DefaultMemory
	}
	return min(cpu, s.config.CPUMillis), min(memory, s.config.Memory)
}

func (s *State) makeReady(a *Action) {
	if a.Task.NoFit != "" {
		a.Wait = WaitFit
		s.mark(a)
		return
	}
	if a.openChildren > 0 && (s.config.MaxProcesses == 0 || s.alive < s.config.MaxProcesses) {
		// A parent that is made again while its children run would lend them the slot at once, so it needs none. To wait
		// for one could be to wait for children that wait for it.
		s.start(a)
		return
	}
	a.Wait = WaitSlot
	s.mark(a)
	heap.Push(&a.Run.ready, a)
	s.place(a.Run)
}

// place keeps the run in the heap of runs exactly while it has something that it may start.
func (s *State) place(r *Run) {
	eligible := len(r.ready) > 0 && (r.MaxConcurrency == 0 || r.active < int(r.MaxConcurrency))
	switch {
	case eligible && r.index < 0:
		heap.Push(&s.readyRuns, r)
	case eligible:
		heap.Fix(&s.readyRuns, r.index)
	case r.index >= 0:
		heap.Remove(&s.readyRuns, r.index)
	}
}

func (s *State) unready(a *Action) {
	if a.readyIndex >= 0 {
		heap.Remove(&a.Run.ready, int(a.readyIndex))
		s.place(a.Run)
	}
}

// admit starts what fits, fairly between runs. The first in line is never overtaken, so a large task is not starved.
func (s *State) admit() {
	for len(s.readyRuns) > 0 {
		run := s.readyRuns[0]
		a := run.ready[0]
		cpu, memory := s.request(a.Task)
		if s.holding > 0 {
			if s.usedCPU+cpu > s.config.CPUMillis || s.usedMem+memory > s.config.Memory {
				return
			}
			if s.config.MaxProcesses > 0 && s.alive >= s.config.MaxProcesses {
				return
			}
		}
		heap.Pop(&run.ready)
		s.order++
		run.served = s.order
		s.start(a)
	}
}

func (s *State) start(a *Action) {
	a.Phase, a.Wait, a.Initialized = PhaseInitializing, WaitStart, s.now
	s.take(a)
	s.mark(a)
	s.schedule(a)
	s.effect(StartAttempt{ID: a.AttemptID(), RunID: a.Run.ID, Task: a.Task, InputURI: a.InputURI(), OutputBase: a.OutputBase})
}

// take gives an admitted attempt its slot, unless it has children to lend it to.
func (s *State) take(a *Action) {
	a.admitted = true
	s.alive++
	if a.openChildren == 0 {
		s.hold(a)
	}
	s.place(a.Run)
}

func (s *State) free(a *Action) {
	if !a.admitted {
		return
	}
	if a.holds {
		s.unhold(a)
	}
	a.admitted = false
	s.alive--
	s.place(a.Run)
}

func (s *State) lend(a *Action) {
	if a.holds {
		s.unhold(a)
		s.place(a.Run)
	}
}

// reclaim takes the slot back at once: the parent's process goes on in any case.
func (s *State) reclaim(a *Action) {
	if a.admitted && !a.holds {
		s.hold(a)
		s.place(a.Run)
	}
}

func (s *State) hold(a *Action) {
	cpu, memory := s.request(a.Task)
	a.holds = true
	s.holding++
	a.Run.active++
	s.usedCPU += cpu
	s.usedMem += memory
}

func (s *State) unhold(a *Action) {
	cpu, memory := s.request(a.Task)
	a.holds = false
	s.holding--
	a.Run.active--
	s.usedCPU -= cpu
	s.usedMem -= memory
}

// Explain is the dominant reason why an unfinished action does not run, refined by the state of the slots at the moment.
func (s *State) Explain(a *Action) Wait {
	switch {
	case a.Wait == WaitSlot && a.Run.MaxConcurrency > 0 && a.Run.active >= int(a.Run.MaxConcurrency):
		return WaitConcurrency
	case a.Wait == WaitSlot && s.config.MaxProcesses > 0 && s.alive >= s.config.MaxProcesses:
		return WaitProcesses
	case a.Wait == WaitNone && a.Phase == PhaseRunning && a.openChildren > 0:
		return WaitChildren
	}
	return a.Wait
}
