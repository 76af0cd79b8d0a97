package main

import (
	"os"
	"runtime"

	"biplane.dev/biplane/internal/data/executor/runner"
)

func init() { runtime.LockOSThread() } // see runner.Main

func main() { os.Exit(runner.Main()) }
