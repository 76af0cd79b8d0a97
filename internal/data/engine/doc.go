// Package engine decides what happens to the actions of runs.
//
// It is a pure state machine: State.Step takes the time and one input (a request, an attempt that ended, a tick), changes the
// state, and notes what must be written, done and answered; Take hands that over. There is no clock, no I/O and no
// goroutine here, so every rule (retry, backoff, three time-outs, cache and reservation, concurrency, abort cascade,
// recover, conditions, traces, slots) is tested by scripts and by a seeded simulation.
//
// Only actions that are not finished are in memory. The shell around it (package engine/shell) writes the rows in one
// transaction, answers after the commit, and carries out the effects, which are idempotent: after a restart Restore
// derives them again from the rows.
//
// It must never import a protocol package, the store or an executor.
package engine
