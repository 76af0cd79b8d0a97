// Package executor makes attempts real: it starts the command of an attempt, limits it, stops it, and says how it ended.
//
// The engine's shell calls it through the Executor interface, whose suite is in executortest. An executor knows nothing of
// retries, caches or parents, and never reads the outputs of a task.
//
// Process is the executor of one machine. It starts a runner (see the runner package) beside every attempt, in a private folder that
// is named after it; the runner starts the task and outlives the plane. So a plane that was killed finds in its folders
// what it had started, sees by the runners' locks what still runs, and by their records how the rest ended.
package executor
