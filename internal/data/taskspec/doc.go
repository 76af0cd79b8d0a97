// Package taskspec reads a task's specification: what the engine must know of it, whether this plane can run it, and its
// digest.
//
// The gateway and the shell call it. It is pure.
package taskspec
