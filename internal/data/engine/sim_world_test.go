package engine

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"biplane.dev/biplane/internal/names"
)

// sim is a driver in a world of programs: a parent enqueues the children of its plan, waits for them, and ends.
type sim struct {
	*driver
	pick  func(n int) int // a choice from 0 to n-1
	seed  uint64
	tasks []*Task
	next  map[names.Attempt]int // how far an attempt is with the children of its plan
	told  []Input               // what the executor will tell again after a restart
	runs  int
	stats simStats
}

const simRuns = 10

func newSim(seed uint64, pick func(int) int) *sim {
	config := Config{CPUMillis: 3000, Memory: 8, DefaultCPUMillis: 1000, DefaultMemory: 1, SystemRetries: 2, MaxProcesses: []int{0, 3, 5}[seed%3], EndsAtOnce: []int{0, 1, 2}[seed/3%3]}
	return &sim{
		driver: newDriver(config), pick: pick, seed: seed, next: map[names.Attempt]int{},
		tasks: []*Task{
			{Name: "plain"},
			{Name: "retried", Retries: 2, Backoff: Backoff{Base: time.Second, Factor: 2, Cap: 3 * time.Second}},
			{Name: "slow", Retries: 1, MaxRuntime: 5 * time.Second},
			{Name: "patient", Retries: 1, QueuedTimeout: 4 * time.Second, Backoff: Backoff{Base: 6 * time.Second}},
			{Name: "due", Retries: 3, Deadline: 15 * time.Second, MaxRuntime: 7 * time.Second},
			{Name: "once", Retries: 1, Serialize: true, Backoff: Backoff{Base: time.Second}},
			{Name: "cached", CacheMaxAge: time.Minute},
			{Name: "large", CPUMillis: 3000},
			{Name: "fat", Memory: 5},
			{Name: "gpu", NoFit: "gpu", Deadline: 20 * time.Second},
			{Name: "nap", Builtin: BuiltinSleep, MaxRuntime: 8 * time.Second, Retries: 1},
			{Name: "echo", Builtin: BuiltinEcho, MaxRuntime: 3 * time.Second},
			{Name: "hasty", Serialize: true, QueuedTimeout: 2 * time.Second},
		},
	}
}

// plan of an action: the same for the same name in every run and attempt, as the SDK's names are.
func (s *sim) plan(name string) (spec ActionSpec, children int) {
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%d %s", s.seed, name)
	n := int(hash.Sum64() >> 16)
	draw := func(m int) int { r := n % m; n /= m; return r }
	depth := strings.Count(name, "-")
	spec = ActionSpec{Name: name, Kind: KindTask, OutputBase: "base"}
	if depth < 3 && (depth == 0 || draw(2) == 0) {
		spec.Task = s.tasks[draw(5)]
		return spec, 1 + draw(4)
	}
	switch draw(8) {
	case 0:
		spec.Kind, spec.Detail = KindCondition, []byte("hook")
		spec.Timeout = []time.Duration{0, 10 * time.Second}[draw(2)]
		return spec, 0
	case 1:
		spec.Kind, spec.Trace = KindTrace, &TraceEnd{Phase: PhaseSucceeded, Ended: s.now}
		return spec, 0
	}
	spec.Task = s.tasks[draw(len(s.tasks))]
	if draw(4) == 0 {
		spec.Task = s.tasks[5+draw(2)] // more of those that share results
	}
	switch spec.Task.Name {
	case "once", "cached", "hasty":
		spec.CacheKey = fmt.Sprintf("%s-%d", spec.Task.Name, draw(2))
	case "nap":
		spec.Sleep = []time.Duration{0, time.Second, 10 * time.Second}[draw(3)]
	}
	return spec, 0
}

func childName(parent string, i int) string { return fmt.Sprintf("%s-%d", parent, i) }

// chance lets one thing happen.
func (s *sim) chance() {
	switch s.pick(20) {
	case 0, 1:
		s.createRun()
	case 2:
		s.now = s.now.add(time.Duration(s.pick(3000)) * time.Millisecond)
		s.step(Tick{})
	case 3:
		if next := s.state.NextTimer(); next != 0 {
			s.now = next
			s.step(Tick{})
		}
	case 4, 5, 6:
		if id, ok := pickKey(s, s.lookups, actionText); ok {
			s.lookup(id, s.pick(10) == 0)
		}
	case 7:
		if id, ok := pickKey(s, s.builtins, attemptText); ok {
			s.end(id)
		}
	case 8:
		s.nonsense()
	case 9:
		if s.pick(3) == 0 {
			s.abortOne()
		}
	case 10:
		s.signalOne()
	case 11:
		switch s.pick(4) {
		case 0:
			s.restart(true)
		case 1:
			s.restart(false)
		}
	case 12:
		s.tellOne()
	default:
		if id, ok := pickKey(s, s.attempts, attemptText); ok {
			s.advance(id, true)
		}
	}
}

// pickKey chooses from a map in a way that the seed alone decides.
func pickKey[K comparable, V any](s *sim, m map[K]V, text func(K) string) (key K, ok bool) {
	all := sortedKeys(m, text)
	if len(all) == 0 {
		return key, false
	}
	return all[s.pick(len(all))], true
}

func sortedKeys[K comparable, V any](m map[K]V, text func(K) string) []K {
	return slices.SortedFunc(maps.Keys(m), func(x, y K) int { return cmp.Compare(text(x), text(y)) })
}

func (s *sim) createRun() {
	if s.runs == simRuns {
		return
	}
	s.runs++
	name := fmt.Sprintf("r%d", s.runs)
	run := &Run{Name: runID(name), Digest: name, MaxConcurrency: uint32(s.pick(3)), OverwriteCache: s.pick(6) == 0}
	if s.runs > 1 && s.pick(2) == 0 {
		from := runID(fmt.Sprintf("r%d", 1+s.pick(s.runs-1)))
		run.RecoverFrom, run.ForceRerun = &from, map[string]bool{childName("a0", s.pick(3)): true}
	}
	root, _ := s.plan("a0")
	s.step(CreateRun{Run: run, Root: root, Ticket: "create"})
}

// advance lets an attempt's code go on by one thing. With whims it may fail, hang or leave early.
func (s *sim) advance(id names.Attempt, whims bool) (moved bool) {
	a := s.attempts[id]
	_, children := s.plan(id.Action.Action)
	switch {
	case a.outcome != nil: // told; the engine has not committed it yet
		return false
	case a.stop != StopNone && s.pick(3) == 0:
		s.end(id)
	case a.started == 0:
		s.step(AttemptStarted{ID: id, At: s.now})
	case whims && s.pick(40) == 0:
		s.end(id) // with children that it leaves behind
	case s.next[id] < children:
		s.enqueueChild(id, s.next[id])
		s.next[id]++
	default:
		for i := range children {
			child := names.Action{Run: id.Run, Action: childName(id.Action.Action, i)}
			if row := s.book.row(child); row == nil && a.stop == StopNone {
				s.enqueueChild(id, i) // the commit that had it has failed
				return true
			} else if row != nil && !row.Phase.Terminal() {
				return false
			}
		}
		s.end(id)
	}
	return true
}

func (s *sim) enqueueChild(parent names.Attempt, i int) {
	spec, _ := s.plan(childName(parent.Action.Action, i))
	spec.Parent = parent.Action.Action
	s.step(Enqueue{Run: parent.Run, Spec: spec, Ticket: "enqueue"})
}

func (s *sim) end(id names.Attempt) {
	outcome := Outcome{At: s.now, OutputURI: OutputDir("base", id.Action.Action, id.Number)}
	switch s.pick(8) {
	case 0:
		outcome.Error = &Error{Code: "Boom", Message: "chance", Recoverable: true}
	case 1:
		outcome.Error = &Error{Code: "Boom", Message: "for good"}
	case 2:
		outcome.System, outcome.Error = true, &Error{Code: "Lost", Message: "chance", Recoverable: true}
	default:
		outcome.OK = true
	}
	s.step(AttemptEnded{ID: id, Outcome: outcome})
}
