// Package tether runs child processes that do not outlive this one, even when it is killed.
//
// The demo runs its first program with it and the image builder its commands. The planes themselves are not tethered: they
// stop in order when a pipe closes (their flag --lifeline). Where the kernel has no such service (not Linux) a child whose
// parent was killed goes on until it ends by itself.
package tether
