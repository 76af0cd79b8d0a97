package engine

// Wait is the one dominant reason why an action is not running: a closed list, the same in rows, API, CLI and docs.
type Wait uint8

// The reasons.
const (
	WaitNone        Wait = 0  // it runs, or has ended
	WaitLookup      Wait = 1  // the cache, or the run it recovers from, is being asked
	WaitBackoff     Wait = 2  // pause before the next attempt
	WaitSlot        Wait = 3  // every slot of the machine is taken
	WaitConcurrency Wait = 4  // the run's own limit of concurrent actions
	WaitReservation Wait = 5  // another action computes the same cached result
	WaitFit         Wait = 6  // the task asks for something this plane does not have
	WaitStart       Wait = 7  // the attempt is being started
	WaitSignal      Wait = 8  // a condition: nobody has signalled it
	WaitStop        Wait = 9  // its processes are being stopped
	WaitChildren    Wait = 10 // it runs, and waits for its children
	WaitProcesses   Wait = 11 // the plane's limit of living processes
)

var waitWords = [...]struct{ name, reason, next string }{
	WaitNone:        {"NONE", "", ""},
	WaitLookup:      {"CACHE_LOOKUP", "the cache is being asked for its outputs", "wait; this takes milliseconds"},
	WaitBackoff:     {"BACKOFF", "the last attempt failed; the pause before the next one has not passed", "see the last attempt's error: flyte get action RUN ACTION"},
	WaitSlot:        {"SLOTS", "every slot of this machine is taken", "wait, lower the resources the task asks for, or give the plane more with --cpu and --memory"},
	WaitConcurrency: {"CONCURRENCY", "the run's limit of concurrent actions is reached", "wait, or raise max_action_concurrency of the run"},
	WaitReservation: {"RESERVATION", "another action computes the same cached result", "wait for it, or turn off serialize for the task's cache"},
	WaitFit:         {"NO_FIT", "the task asks for a resource this data plane does not have", "run it on a data plane that has it, or change the task's resources"},
	WaitStart:       {"STARTING", "the attempt is being started", "wait; if it lasts, see the plane's log"},
	WaitSignal:      {"SIGNAL", "the condition has not been signalled", "flyte signal condition RUN ACTION VALUE"},
	WaitStop:        {"STOPPING", "its processes are being stopped", "wait for the grace period; then they are killed"},
	WaitChildren:    {"CHILDREN", "it waits for its children", "look at the children: biplane why RUN"},
	WaitProcesses:   {"PROCESSES", "the plane's limit of living processes is reached", "wait, or raise it with --max-processes"},
}

func (w Wait) String() string { return w.words().name }

// Reason is the wait in words, for a person.
func (w Wait) Reason() string { return w.words().reason }

// Next is what a person can do about it.
func (w Wait) Next() string { return w.words().next }

func (w Wait) words() struct{ name, reason, next string } {
	if int(w) < len(waitWords) {
		return waitWords[w]
	}
	return waitWords[WaitNone]
}

// Waits is the whole list, for docs and for tests that hold it complete.
func Waits() []Wait {
	all := make([]Wait, 0, len(waitWords))
	for w := range waitWords {
		all = append(all, Wait(w))
	}
	return all
}
