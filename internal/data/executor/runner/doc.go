// Package runner is the helper that stands beside one attempt: it starts the task, limits it, keeps what it prints, and says
// how it ended. It is the whole of the program biplane-runner.
//
// An executor starts one runner per attempt, in the attempt's private folder, and writes a Spec to its standard input. The
// runner outlives its plane: a restarted plane finds it by the lock that it holds on LockFile, and its result in
// ExitFile. It ends the attempt and itself when no plane has held the plane's lock for Spec.OrphanGrace.
//
// A runner must start fast and stay small, so this package imports little. It never puts what is in a Spec into its arguments,
// its environment, its log or a file, except secrets into the files that the task asked for.
package runner
