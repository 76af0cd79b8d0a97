package executor

import (
	"context"
	"time"

	"biplane.dev/biplane/internal/names"
)

// Command is everything needed to run one attempt.
type Command struct {
	ID    names.Attempt
	Args  []string          // argv; Args[0] is looked up in PATH of Env
	Env   map[string]string // the whole environment; may hold secrets, so it is never logged or written to disk
	Files []File            // secrets to place before the start
	// Seed fills the attempt's working folder before the start; nil leaves it empty. It is called in Start.
	Seed func(folder string) error `json:"-"`
	// MemoryLimit in bytes: exceeding it ends the attempt with Exit.OutOfMemory. 0 is no limit.
	MemoryLimit int64
	// CPUMillis is the request in thousandths of a core, used as a weight. 0 counts as 1000.
	CPUMillis int64
	// Grace is the time between SIGTERM and SIGKILL when the attempt is stopped.
	Grace time.Duration
}

// File is a secret given as a file. Path is relative to the attempt's private secrets folder, whose absolute path replaces
// the text "{{secrets}}" in values of Command.Env.
type File struct {
	Path    string
	Content []byte
}

// Exit says how the processes of an attempt ended. It is given only when nothing of the attempt is alive.
type Exit struct {
	ID          names.Attempt
	Code        int    // exit code; -1 when ended by a signal or never started
	Signal      string // "SIGKILL", …; empty when it exited
	OutOfMemory bool   // ended by its memory limit or by the kernel's out-of-memory killer
	Stopped     bool   // Stop was asked before it ended
	Lost        bool   // the executor lost it (machine restarted): how it ended is not known
	StartError  string // why it could not be started at all (no such program, disk full); empty when it ran
	BadCommand  bool   // StartError is about the command itself: it cannot be started, however often it is tried
	Started     time.Time
	Ended       time.Time
	PeakMemory  int64         // bytes, the highest seen; 0 when not measured
	CPU         time.Duration // user and system
}

// Events is told what happens to attempts. Calls come from the executor's goroutines and must not block for long.
type Events interface {
	// Started: the process of the attempt exists. Told again after adoption.
	Started(id names.Attempt, at time.Time)
	// Ended is told at least once for every attempt that was started, until Forget.
	Ended(exit Exit)
}

// Executor runs attempts. All calls are idempotent by attempt.
type Executor interface {
	// Start makes the attempt run. An attempt that runs already (started by an earlier life of this plane) is adopted, one that has
	// ended is reported again: the same attempt never runs twice. It returns when the start is certain to be tried;
	// what goes wrong after that is told by Ended.
	Start(ctx context.Context, command Command) error
	// Known says whether this executor has started the attempt, in this life or an earlier one, and has not forgotten it.
	Known(id names.Attempt) bool
	// Adopt takes charge again of an attempt that an earlier life started: Ended will be told for it, at once if it is over. Not known: Exit.Lost.
	Adopt(id names.Attempt)
	// Stop ends the attempt: SIGTERM, the grace, SIGKILL to everything it started. Ended follows.
	Stop(id names.Attempt, reason string)
	// Forget removes what is kept of an ended attempt (its private folder), once its outcome is recorded.
	Forget(id names.Attempt)
	// Sweep stops and removes every attempt of earlier lives that is not in keep: orphans of a plane whose journal does not know them.
	Sweep(ctx context.Context, keep func(names.Attempt) bool) error
	// Close stops watching; with kill also ends every attempt and waits until nothing is alive.
	Close(ctx context.Context, kill bool) error
}
