// Package executortest is the suite that every executor.Executor passes. Tests of implementations call it; nothing else does.
//
// What it runs are small shell scripts, so an executor of pods needs an image with a shell and the usual tools. A crash of the plane
// is a real one: Main lets the test binary be the plane in a process of its own, which the suite kills with SIGKILL.
package executortest
