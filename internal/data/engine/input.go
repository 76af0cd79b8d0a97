package engine

import (
	"time"

	"biplane.dev/biplane/internal/names"
)

// Input is one thing that happens to the engine.
type Input interface{ input() }

// Ticket is what a caller gives with a request to find its answer in Output.Replies; opaque here.
type Ticket any

// ActionSpec describes an action to create.
type ActionSpec struct {
	Name       string
	Parent     string // empty for the root
	Kind       Kind
	Group      string
	Task       *Task
	InputURI   string
	OutputBase string
	CacheKey   string
	Queue      string
	Sleep      time.Duration
	Timeout    time.Duration
	Detail     []byte
	Trace      *TraceEnd // of KindTrace: it has already happened
	// Replay are the traces that a run which is recovered from has of the action: when it is executed, they become its
	// children, before its code asks for them. What a restart loses of them before that is executed again.
	Replay []ActionSpec
}

// TraceEnd is the outcome of a trace, which the task reports after the fact.
type TraceEnd struct {
	Phase     Phase
	Started   Time
	Ended     Time
	OutputURI string
	Error     *Error
	From      *Pointer // of a recovered one
}

// CreateRun makes a run with its root action.
type CreateRun struct {
	Ticket Ticket
	Run    *Run // Name, limits and settings; the engine fills in the rest
	Root   ActionSpec
	Row    any // what the journal keeps beside, opaque here
	// Known is the digest of the request that made a run of this name, when the journal has one; empty when not.
	Known string
}

// Enqueue makes a child.
type Enqueue struct {
	Ticket Ticket
	Run    names.Run
	Spec   ActionSpec
	// Known is what the journal knows of the name, and of its parent, when they are not in memory.
	Known Known
}

// Known is what the journal says about names that are not in memory.
type Known struct {
	Action Phase // of the finished action with this name; 0 when there is none
	Parent Phase // of the finished parent; 0 when there is none
}

// LookupDone answers the effect Lookup.
type LookupDone struct {
	ID        names.Action
	Recovered *Pointer // outputs of the run that is recovered from
	Hit       *Pointer // a cache entry whose outputs exist
}

// AttemptStarted says that the attempt's process exists.
type AttemptStarted struct {
	ID names.Attempt
	At Time
}

// AttemptEnded says how an attempt ended. Nothing of it is alive.
type AttemptEnded struct {
	ID      names.Attempt
	Outcome Outcome
}

// Outcome is the end of an attempt, or of a built-in.
type Outcome struct {
	OK        bool
	OutputURI string
	Error     *Error // when not OK
	System    bool   // not the task's fault: charged to system retries
	At        Time
	Usage     Usage
}

// Signal gives a condition its value.
type Signal struct {
	Ticket Ticket
	ID     names.Action
	Value  []byte
	By     string
}

// AbortRun stops a run and refuses new actions of it.
type AbortRun struct {
	Ticket Ticket
	Run    names.Run
	Reason string
	By     string
	Code   string // of the root's error; empty is CodeAborted
}

// AbortAction stops an action and everything below it.
type AbortAction struct {
	Ticket Ticket
	ID     names.Action
	Reason string
	By     string
}

// Tick says that time has passed; the shell sends it at State.NextTimer.
type Tick struct{}

func (CreateRun) input()      {}
func (Enqueue) input()        {}
func (LookupDone) input()     {}
func (AttemptStarted) input() {}
func (AttemptEnded) input()   {}
func (Signal) input()         {}
func (AbortRun) input()       {}
func (AbortAction) input()    {}
func (Tick) input()           {}
