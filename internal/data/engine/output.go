package engine

import (
	"time"

	"biplane.dev/biplane/internal/names"
)

// Output is what a batch of steps asks for, in this order: commit the rows, answer, carry out the effects.
type Output struct {
	NewRuns  []NewRun
	Runs     []*Run    // whose row changed (aborting)
	Actions  []*Action // whose row is new or changed, each once
	Attempts []PastAttempt
	Cached   []CacheEntry
	Touched  []Touched // finished actions whose state must be told to watchers again
	Replies  []Reply
	Effects  []Effect
}

// Empty says that there is nothing to commit.
func (o *Output) Empty() bool {
	return len(o.NewRuns)+len(o.Runs)+len(o.Actions)+len(o.Attempts)+len(o.Cached)+len(o.Touched) == 0
}

// NewRun is a run to insert, with what the journal keeps beside it.
type NewRun struct {
	Run *Run
	Row any
}

// Touched names a finished action.
type Touched struct {
	RunID  int64
	Action string
}

// CacheEntry maps a cache key to the outputs that an action made for it.
type CacheEntry struct {
	Key       string
	Run       names.Run
	Action    string
	Attempt   uint32
	OutputURI string
	At        Time
}

// Reply answers a request once its rows are committed.
type Reply struct {
	Ticket Ticket
	Err    error
	// Existed is true when the request found what it would have made.
	Existed bool
	Run     *Run // of CreateRun
}

// Effect is something to do outside. Every effect is idempotent.
type Effect interface{ effect() }

// StartAttempt asks for the attempt's process. Resumed is true when an earlier life of the plane may have started it.
type StartAttempt struct {
	ID         names.Attempt
	RunID      int64
	Task       *Task
	InputURI   string
	OutputBase string
	Resumed    bool
	Running    bool // it was seen running: when it is not there any more it is lost, not to be started anew
}

// StopAttempt asks to end the attempt's processes.
type StopAttempt struct {
	ID    names.Attempt
	Cause StopCause
}

// ForgetAttempt says that the attempt's outcome is committed: what the executor keeps of it can go.
type ForgetAttempt struct{ ID names.Attempt }

// RunBuiltin asks the plane to carry out a built-in task; the answer is AttemptEnded.
type RunBuiltin struct {
	ID         names.Attempt
	RunID      int64
	Task       *Task
	InputURI   string
	OutputBase string
}

// Lookup asks whether outputs exist that make executing needless; the answer is LookupDone.
type Lookup struct {
	ID          names.Action
	CacheKey    string        // empty: do not ask the cache
	CacheMaxAge time.Duration // 0: no limit
	RecoverFrom *names.Run    // nil: nothing to recover
}

// PostWebhook tells the outside that a condition waits.
type PostWebhook struct {
	ID     names.Action
	Detail []byte
}

func (StartAttempt) effect()  {}
func (StopAttempt) effect()   {}
func (ForgetAttempt) effect() {}
func (RunBuiltin) effect()    {}
func (Lookup) effect()        {}
func (PostWebhook) effect()   {}
