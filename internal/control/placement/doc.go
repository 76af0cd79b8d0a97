// Package placement decides which data plane has a run: who holds it when several claim it, who is told to stop, where a run may go, and
// which runs move when their plane is lost.
//
// Everything here is a function of its arguments: no clock, no I/O, no goroutine. The ledger asks Register for each report of a plane, in
// the transaction that records it; docs/leases.md has the rules in words. It must never import the store or the link.
package placement
