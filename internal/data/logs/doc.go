// Package logs keeps the lines that attempts print: written as they come, read live and after.
//
// The runner beside an attempt writes; the gateway reads. A log is bounded; what did not fit is counted in a last line. The
// suite in logstest is what every implementation passes.
package logs
