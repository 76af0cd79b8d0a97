package engine

// Phase is the state of an action. The numbers are those of flyteidl2.common.ActionPhase.
type Phase uint8

// The phases.
const (
	PhaseQueued       Phase = 1
	PhaseWaiting      Phase = 2 // for resources: here, for another action's cache reservation
	PhaseInitializing Phase = 3 // admitted; its attempt is being started
	PhaseRunning      Phase = 4
	PhaseSucceeded    Phase = 5
	PhaseFailed       Phase = 6
	PhaseAborted      Phase = 7
	PhaseTimedOut     Phase = 8
	PhasePaused       Phase = 9 // a condition that waits for its signal
	PhaseRecovered    Phase = 10
)

// Terminal says that nothing can change the phase any more.
func (p Phase) Terminal() bool {
	return p >= PhaseSucceeded && p <= PhaseTimedOut || p == PhaseRecovered
}

// Good says that the action ended with outputs to use.
func (p Phase) Good() bool { return p == PhaseSucceeded || p == PhaseRecovered }

var phaseNames = [...]string{"UNSPECIFIED", "QUEUED", "WAITING_FOR_RESOURCES", "INITIALIZING", "RUNNING", "SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "PAUSED", "RECOVERED"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "UNKNOWN"
}

// Kind is what an action is. The numbers are those of flyteidl2.workflow.ActionType.
type Kind uint8

// The kinds.
const (
	KindTask      Kind = 1
	KindTrace     Kind = 2
	KindCondition Kind = 3
)

// CacheStatus is what the cache did for an action. The numbers are those of flyteidl2.core.CatalogCacheStatus.
type CacheStatus uint8

// The cache statuses in use.
const (
	CacheDisabled  CacheStatus = 0
	CacheMiss      CacheStatus = 1
	CacheHit       CacheStatus = 2
	CachePopulated CacheStatus = 3
	CacheSkipped   CacheStatus = 6
)

// ErrorKind says whose fault a failure is. The numbers are those of flyteidl2.core.ExecutionError.ErrorKind.
type ErrorKind uint8

// The kinds of error.
const (
	ErrorUnknown ErrorKind = 0
	ErrorUser    ErrorKind = 1
	ErrorSystem  ErrorKind = 2
)

// Codes of errors that the engine itself gives. The time-out codes are the words the SDK maps to its exceptions.
const (
	CodeQueuedTimeout = "QUEUED_TIMEOUT_EXCEEDED"
	CodeMaxRuntime    = "MAX_RUNTIME_EXCEEDED"
	CodeDeadline      = "DEADLINE_EXCEEDED"
	CodeAborted       = "Aborted"
	CodeTimedOut      = "TimedOut" // of a condition

	CodeNameConflict = "NAME_CONFLICT" // another data plane has an earlier run of the same name
	CodeLeaseLost    = "LEASE_LOST"    // another data plane goes on with the run
)

// Error is why an attempt, and with the last one its action, did not succeed.
type Error struct {
	Code        string
	Message     string
	Kind        ErrorKind
	Recoverable bool
}
