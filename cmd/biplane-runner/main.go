// Command biplane-runner stands beside one attempt of a task; a data plane starts it. It has no use on a command line.
package main

import (
	"os"
	"runtime"

	"biplane.dev/biplane/internal/data/executor/runner"
)

func init() { runtime.LockOSThread() } // see runner.Main

func main() { os.Exit(runner.Main()) }
