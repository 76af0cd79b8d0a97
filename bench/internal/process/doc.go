// Package process starts the real binaries of a plane for a benchmark and reads from the system what they cost: CPU time,
// bytes written, resident memory (all from /proc, so on Linux only), and the plane's own metrics.
//
// The benchmarks call it. It never touches a plane that it did not start.
package process
