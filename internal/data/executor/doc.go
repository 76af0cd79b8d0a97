// Package executor makes attempts real: it starts the command of an attempt, limits it, stops it, and says how it ended.
//
// The engine's shell calls it through the Executor interface, whose suite is in executortest. An executor knows nothing of
// retries, caches or parents, and never reads the outputs of a task.
package executor
