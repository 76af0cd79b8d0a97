// Package admin answers the operator's CLI: biplane.admin.v1 on a loopback port of the control plane.
//
// Reads come from the ledger and the fleet; an abort becomes a command for the run's data plane. Callers show the token that
// the control plane wrote into its state folder, so that no other user of the machine, and no web page, can call it.
package admin
