package engine

import (
	"container/heap"
	"fmt"
	"time"
)

// timerHeap orders the actions for which time alone matters by the moment it does. An action is in it at most once, and
// leaves it when it ends, so the heap keeps nothing of what is finished.
type timerHeap []*Action

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].timerAt < h[j].timerAt }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timerIndex, h[j].timerIndex = int32(i), int32(j)
}
func (h *timerHeap) Push(x any) {
	a := x.(*Action)
	a.timerIndex = int32(len(*h))
	*h = append(*h, a)
}
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.timerIndex = -1
	return last
}

// due is the earliest moment at which time alone changes the action; 0 when none.
func (a *Action) due() Time {
	var at Time
	earliest := func(t Time) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	after := func(from Time, limit time.Duration) {
		if from != 0 && limit > 0 {
			earliest(from.add(limit))
		}
	}
	if a.doomed {
		return 0
	}
	if a.Kind == KindCondition {
		after(a.Created, a.Timeout)
		return at
	}
	if a.Stop < StopDeadline {
		after(a.Created, a.Task.Deadline)
	}
	switch a.Phase {
	case PhaseQueued, PhaseWaiting:
		if a.Wait == WaitBackoff {
			earliest(a.RetryAt)
		} else { // the pause is the task's own wish; the time for a slot counts from its end
			after(max(a.Queued, a.RetryAt), a.Task.QueuedTimeout)
		}
	case PhaseRunning:
		if a.Task.Builtin == BuiltinSleep {
			after(a.Started, a.Sleep)
		}
		if a.Stop < StopMaxRuntime {
			after(a.Started, a.Task.MaxRuntime)
		}
	}
	return at
}

// schedule makes sure that a tick comes when the action is due.
func (s *State) schedule(a *Action) {
	at := Time(0)
	if !a.Phase.Terminal() {
		at = a.due()
	}
	switch {
	case at == 0 && a.timerIndex >= 0:
		heap.Remove(&s.timers, int(a.timerIndex))
	case at == 0 || a.timerIndex >= 0 && at == a.timerAt:
	case a.timerIndex >= 0:
		a.timerAt = at
		heap.Fix(&s.timers, int(a.timerIndex))
	default:
		a.timerAt = at
		heap.Push(&s.timers, a)
	}
}

func (s *State) fireTimers() {
	for len(s.timers) > 0 && s.timers[0].timerAt <= s.now {
		a := heap.Pop(&s.timers).(*Action)
		s.expire(a)
		s.schedule(a)
	}
}

// expire carries out what is due. One cause at a time, the gravest first; schedule brings the next.
func (s *State) expire(a *Action) {
	passed := func(from Time, limit time.Duration) bool {
		return from != 0 && limit > 0 && from.add(limit) <= s.now
	}
	if a.Kind == KindCondition {
		if passed(a.Created, a.Timeout) {
			a.Error = &Error{Code: CodeTimedOut, Message: fmt.Sprintf("the condition was not signalled within %s", a.Timeout), Kind: ErrorUser}
			s.finish(a, PhaseTimedOut)
		}
		return
	}
	switch {
	case passed(a.Created, a.Task.Deadline) && a.Stop < StopDeadline:
		if s.living(a) {
			s.stop(a, StopDeadline)
			return
		}
		a.Error = timeoutError(CodeDeadline, "the action did not end within its deadline of %s, counted over all attempts", a.Task.Deadline)
		s.finish(a, PhaseTimedOut)
	case a.Phase == PhaseQueued || a.Phase == PhaseWaiting:
		if a.Wait == WaitBackoff {
			if a.RetryAt <= s.now {
				s.proceed(a)
			}
			return
		}
		if passed(max(a.Queued, a.RetryAt), a.Task.QueuedTimeout) {
			a.Error = timeoutError(CodeQueuedTimeout, "the attempt was not started within its limit of %s", a.Task.QueuedTimeout)
			s.finish(a, PhaseTimedOut)
		}
	case a.Phase == PhaseRunning && a.Task.Builtin == BuiltinSleep && passed(a.Started, a.Sleep):
		s.attemptOver(a, Outcome{OK: true, At: s.now})
	case a.Phase == PhaseRunning && passed(a.Started, a.Task.MaxRuntime) && a.Stop < StopMaxRuntime:
		if s.living(a) {
			s.stop(a, StopMaxRuntime)
			return
		}
		a.Stop = StopMaxRuntime // a sleep longer than its limit
		s.attemptOver(a, Outcome{At: s.now, Error: &Error{}})
	}
}
