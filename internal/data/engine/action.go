package engine

import (
	"container/list"
	"time"

	"biplane.dev/biplane/internal/names"
)

// Time is microseconds since 1970 UTC; 0 is "not yet".
type Time int64

// At converts a clock's time.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMicro())
}

// Clock converts back; the zero Time gives the zero time.Time.
func (t Time) Clock() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t)).UTC()
}

func (t Time) add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Builtin is a task type that the plane carries out itself, without a process.
type Builtin uint8

// The built-in task types.
const (
	BuiltinNone     Builtin = iota
	BuiltinSleep            // ends after Action.Sleep
	BuiltinEcho             // outputs its inputs
	BuiltinFunction         // a function inside the plane (image builds)
)

// Task is what the engine must know of a task's specification. One value is shared by all actions with the same digest.
type Task struct {
	Digest        string // of the specification's bytes
	Name          string
	Version       string
	ShortName     string
	Type          string
	Builtin       Builtin
	Retries       uint32 // user retries: attempts beyond the first
	Backoff       Backoff
	MaxRuntime    time.Duration // of one attempt, from its start; 0 is no limit
	QueuedTimeout time.Duration // of one attempt, until it is admitted
	Deadline      time.Duration // of the action, from its creation, over all attempts
	Serialize     bool          // one action per cache key executes, the others wait for its outputs
	CacheMaxAge   time.Duration // older entries are misses; 0 is no limit
	CPUMillis     int64         // request; 0 is the plane's default
	Memory        int64         // request in bytes; 0 is the plane's default
	NoFit         string        // a resource this plane does not have ("gpu"); the action waits for it
}

// Backoff is the pause before user retry n (from 0): min(Base * Factor^n, Cap).
type Backoff struct {
	Base   time.Duration
	Factor float64
	Cap    time.Duration // 0 is no cap
}

// longestPause bounds the pause before a retry, whatever a task asks for.
const longestPause = 365 * 24 * time.Hour

// Pause before retry n, counted from 0.
func (b Backoff) Pause(n uint32) time.Duration {
	factor := b.Factor
	if factor < 1 {
		factor = 1
	}
	limit := longestPause
	if b.Cap > 0 && b.Cap < limit {
		limit = b.Cap
	}
	pause := float64(b.Base)
	for range n {
		pause *= factor
		if pause >= float64(limit) {
			break
		}
	}
	if pause >= float64(limit) { // compared as a float: what is too large does not fit a Duration
		return limit
	}
	return time.Duration(pause)
}

// Pointer names the attempt whose outputs an action uses instead of executing.
type Pointer struct {
	Run       string // within the same project and domain, or "project/domain/run" across
	Action    string
	Attempt   uint32
	OutputURI string
	Value     []byte // of a recovered condition
}

// Run is a run that has actions which are not finished.
type Run struct {
	ID             int64
	Name           names.Run
	Digest         string // of the request that made it: the same request again is the same run
	Created        Time
	MaxConcurrency uint32 // attempts at once; 0 is no limit
	OverwriteCache bool
	GlobalCache    bool // cache lookups are not limited to the project and domain
	RecoverFrom    *names.Run
	ForceRerun     map[string]bool // actions that recover must not take over
	Aborting       bool
	AbortReason    string
	AbortedBy      string
	AbortCode      string // of the root's error; empty is CodeAborted

	root   *Action // nil once finished
	open   map[string]*Action
	ready  readyHeap
	active int // slots held by attempts of this run
	served uint64
	index  int // in State.runs heap; -1 when it has nothing ready
}

// Action is an action that is not finished, and the row that is kept of it. A plane may hold a million, so small fields stand together.
type Action struct {
	Run        *Run
	Name       string
	ParentName string
	Group      string
	Task       *Task // nil unless Kind is KindTask
	OutputBase string
	CacheKey   string // scoped; empty when not cached
	Queue      string
	Sleep      time.Duration // of a BuiltinSleep
	Timeout    time.Duration // of a condition
	Detail     []byte        // protocol message of a trace or a condition, opaque here
	Value      []byte        // of a signalled condition, opaque here

	Kind           Kind
	Phase          Phase
	Wait           Wait
	CacheStatus    CacheStatus
	Stop           StopCause
	holds          bool   // holds a slot
	admitted       bool   // an attempt is alive, its slot held or lent
	reserved       bool   // holds the reservation of its cache key
	doomed         bool   // in State.doomed
	fresh          bool   // has no row yet
	dirty          bool   // in Output.Actions
	Attempt        uint32 // from 1
	UserFailures   uint32
	SystemFailures uint32
	Created        Time
	Queued         Time // of this attempt, as are the next three
	Initialized    Time
	Started        Time
	Ended          Time // of the action; an earlier attempt's end is in its PastAttempt
	RetryAt        Time // end of the pause before this attempt; 0 when there was none
	OutputURI      string
	Error          *Error
	From           *Pointer // of a cache hit or a recovered action
	AbortReason    string
	AbortedBy      string
	Usage          Usage

	input        string // see InputURI
	parent       *Action
	child        *Action // first of the list of unfinished children
	next, prev   *Action // siblings in that list
	openChildren int32
	depth        int32
	readyIndex   int32         // in Run.ready; -1 when not there
	timerIndex   int32         // in State.timers; -1 when not there
	order        uint64        // of creation in this process, for a fair ready queue
	waiting      *list.Element // its place among those that wait for the reservation
	timerAt      Time
	replay       []ActionSpec // see ActionSpec.Replay
}

// usualInput stands for the address at which the SDK leaves the inputs of nearly every action. Written out it would be a fifth of what
// an action takes in memory.
const usualInput = "\x00"

func usualInputOf(base, name string) string { return base + "/" + name + "/inputs.pb" }

// InputURI is where the inputs lie.
func (a *Action) InputURI() string {
	if a.input == usualInput {
		return usualInputOf(a.OutputBase, a.Name)
	}
	return a.input
}

// SetInputURI says where the inputs lie. Name and OutputBase are set before and stay.
func (a *Action) SetInputURI(uri string) {
	a.input = uri
	if uri == usualInputOf(a.OutputBase, a.Name) {
		a.input = usualInput
	}
}

// Usage is what an attempt used.
type Usage struct {
	PeakMemory int64 // bytes
	CPU        time.Duration
}

// PastAttempt is the row of an attempt that was followed by another.
type PastAttempt struct {
	RunID       int64
	Action      string
	Attempt     uint32
	Phase       Phase
	Queued      Time
	Initialized Time
	Started     Time
	Ended       Time
	OutputURI   string
	Error       *Error
	Usage       Usage
}

// StopCause is why a living attempt is being stopped.
type StopCause uint8

// The causes. A later cause of higher number replaces an earlier one.
const (
	StopNone       StopCause = iota
	StopMaxRuntime           // may be retried
	StopDeadline             // ends TIMED_OUT
	StopAbort                // ends ABORTED
)

// ID is the action's full name.
func (a *Action) ID() names.Action { return names.Action{Run: a.Run.Name, Action: a.Name} }

// AttemptID names the current attempt.
func (a *Action) AttemptID() names.Attempt {
	return names.Attempt{Action: a.ID(), Number: a.Attempt}
}

// OutputDir is where attempt n of an action writes: below the run's base, one folder per attempt, so that a stale attempt
// can never overwrite a newer one's outputs.
func OutputDir(base, action string, attempt uint32) string {
	return base + "/" + action + "/" + itoa(attempt)
}

func itoa(n uint32) string {
	var digits [10]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
		if n == 0 {
			return string(digits[i:])
		}
	}
}
