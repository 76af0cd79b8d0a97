package engine

import (
	"fmt"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Config is what the engine may use.
type Config struct {
	CPUMillis int64 // capacity of all attempts together
	Memory    int64 // bytes
	// DefaultCPUMillis and DefaultMemory stand for a task that asks for nothing.
	DefaultCPUMillis int64
	DefaultMemory    int64
	// MaxProcesses limits living attempts, those that lent their slot included. One more is let in whenever all of them
	// wait for children, so the limit cannot deadlock nested parents.
	MaxProcesses int
	// MaxActions limits actions in memory; beyond it new ones are refused with KindExhausted.
	MaxActions int
	// SystemRetries is how often an attempt that failed through no fault of the task is made again.
	SystemRetries uint32
	// EndsAtOnce is how many actions end in one Take only because something above them did; the rest follow in the next ones, so that
	// other requests are answered in between. 0 is 512.
	EndsAtOnce int
}

// State is everything that is not finished. It is not safe for concurrent use.
type State struct {
	config Config
	now    Time

	runs      map[names.Run]*Run
	nextRunID int64
	draining  bool
	actions   int

	readyRuns runHeap
	usedCPU   int64
	usedMem   int64
	holding   int // attempts that hold a slot
	alive     int // attempts admitted, slots lent included
	order     uint64

	doomed []*Action // what is still to be ended because something above it has; see doom
	ended  int       // of those that Config.EndsAtOnce bounds, since the last Take

	timers       timerHeap
	reservations map[string]*reservation

	// What has ended since the last Take, which the journal does not know yet.
	recentRuns    map[names.Run]*Run
	recentActions map[names.Action]Phase

	out Output
}

// New makes an empty state. Run ids are given from nextRunID on.
func New(config Config, nextRunID int64) *State {
	if config.EndsAtOnce == 0 {
		config.EndsAtOnce = 512
	}
	return &State{
		config: config, nextRunID: nextRunID,
		runs: map[names.Run]*Run{}, reservations: map[string]*reservation{},
		recentRuns: map[names.Run]*Run{}, recentActions: map[names.Action]Phase{},
	}
}

// Step applies one input. Time never goes back for the engine: an earlier now counts as the latest seen.
func (s *State) Step(now Time, input Input) {
	if now > s.now {
		s.now = now
	}
	switch in := input.(type) {
	case CreateRun:
		s.createRun(in)
	case Enqueue:
		s.enqueue(in)
	case LookupDone:
		s.lookupDone(in)
	case AttemptStarted:
		s.attemptStarted(in)
	case AttemptEnded:
		s.attemptEnded(in)
	case Signal:
		s.signal(in)
	case AbortRun:
		s.abortRun(in)
	case AbortAction:
		s.abortAction(in)
	case Tick:
	default:
		panic(fmt.Sprintf("engine: unknown input %T", input))
	}
	s.fireTimers()
	s.endDoomed()
	s.admit()
}

// Take hands over what the steps since the last Take ask for. The actions in it must be read before the next Step.
func (s *State) Take() Output {
	out := s.out
	s.out = Output{}
	for _, a := range out.Actions {
		a.dirty = false
	}
	clear(s.recentRuns)
	clear(s.recentActions)
	s.ended = 0
	return out
}

// Fresh says that the action's row is to be inserted rather than updated; asking makes it known as stored.
func (a *Action) Fresh() bool {
	fresh := a.fresh
	a.fresh = false
	return fresh
}

// NextTimer is when the next Tick is due; 0 when nothing waits for time. It is not after the time of the last Step when that
// has left something to do.
func (s *State) NextTimer() Time {
	if len(s.doomed) > 0 {
		return s.now
	}
	if len(s.timers) == 0 {
		return 0
	}
	return s.timers[0].timerAt
}

// Held is the number of actions in memory.
func (s *State) Held() int { return s.actions }

// Drain says whether new runs are refused. Those that are known go on, and get their new actions.
func (s *State) Drain(on bool) { s.draining = on }

// Draining says whether new runs are refused.
func (s *State) Draining() bool { return s.draining }

// Load is what attempts hold now.
type Load struct {
	Runs, Actions, Alive, Holding int
	CPUMillis, Memory             int64
}

// Load describes the state for metrics and invariants.
func (s *State) Load() Load {
	return Load{Runs: len(s.runs), Actions: s.actions, Alive: s.alive, Holding: s.holding, CPUMillis: s.usedCPU, Memory: s.usedMem}
}

// Find returns an action that is not finished, or nil. It is for reading, between steps.
func (s *State) Find(id names.Action) *Action {
	run := s.runs[id.Run]
	if run == nil {
		return nil
	}
	return run.open[id.Action]
}

// FindRun returns a run that is not finished, or nil.
func (s *State) FindRun(name names.Run) *Run { return s.runs[name] }

// Open calls fn for every unfinished action of the run.
func (r *Run) Open(fn func(*Action)) {
	for _, a := range r.open {
		fn(a)
	}
}

func (s *State) mark(a *Action) {
	if !a.dirty {
		a.dirty = true
		s.out.Actions = append(s.out.Actions, a)
	}
}

func (s *State) reply(ticket Ticket, err error) {
	if ticket != nil {
		s.out.Replies = append(s.out.Replies, Reply{Ticket: ticket, Err: err})
	}
}

func (s *State) effect(e Effect) { s.out.Effects = append(s.out.Effects, e) }

func (s *State) full() error {
	if s.config.MaxActions > 0 && s.actions >= s.config.MaxActions {
		return fault.New(fault.KindExhausted, "the data plane holds %d unfinished actions, its limit; try again when some have ended", s.actions)
	}
	return nil
}

// Finished says that no action of the run is unfinished.
func (r *Run) Finished() bool { return len(r.open) == 0 }
