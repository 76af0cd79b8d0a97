// Package ledger is the control plane's record of runs, actions and attempts: states, times, pointers and numbers, as the
// data planes report them.
//
// The projection writes it, one batch of events per transaction; the operator's API reads it. It is a copy: deleting it
// loses nothing, since the planes send everything again. It must never hold what is not a field of biplane.link.v1, and never
// change a state by itself.
package ledger
