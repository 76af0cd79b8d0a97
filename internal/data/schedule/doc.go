// Package schedule fires the triggers that fire by time: cron expressions in any IANA zone and fixed rates.
//
// The core is pure. Parse turns what was deployed into a Schedule, Schedule.Next says when it fires after an instant, and
// Step decides what is due when the clock shows an instant: what to do after a pause, and never the same time twice,
// whichever way the clock jumps. RunName gives the run of a fire its name from the trigger and the time alone, so a fire
// that is tried again, by this life of the plane or the next, is the same run.
//
// The shell, Scheduler, is one goroutine with the earliest trigger on top of a heap. It reads triggers from Triggers (the
// registry) and starts runs through Runs (the gateway). It keeps nothing of its own: what has fired is a row of the
// registry, written after the run exists; the deterministic name closes the gap between the two.
package schedule
