//go:build !linux

package runner

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Other systems have no subreaper, no cgroups and no /proc. What a task leaves behind is found by its process group, memory is not
// limited, and a process that leaves its group on purpose is not found: good enough to develop on, not to serve others.

var maxrssUnit = map[bool]int64{true: 1, false: 1 << 10}[runtime.GOOS == "darwin"] // getrusage speaks of bytes or of KiB

func becomeSubreaper() error { return nil }

func (a *attempt) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func (a *attempt) killTree() { _ = syscall.Kill(-a.pid, syscall.SIGKILL) }

// awaitGroup waits for the members of the process group that are not children of this process.
func (a *attempt) awaitGroup() {
	for !errors.Is(syscall.Kill(-a.pid, syscall.SIGKILL), syscall.ESRCH) {
		time.Sleep(killEvery)
	}
}

// KillLeftovers ends the process group of a task whose runner has vanished.
func KillLeftovers(task Task, _ string) error {
	if task.PID > 1 {
		_ = syscall.Kill(-task.PID, syscall.SIGKILL)
	}
	return nil
}

// Signal sends SIGTERM to the runner that holds the lock in folder.
func Signal(folder string) error {
	pid, err := Holder(folder + "/" + LockFile)
	if err != nil || pid == 0 {
		return err
	}
	return syscall.Kill(pid, syscall.SIGTERM)
}

type meter struct{ peak int64 }

func (a *attempt) watchMemory() {}

type oomCounter struct{}

func (oomCounter) begin()     {}
func (oomCounter) rose() bool { return false }

type cgroup struct {
	path string
	dir  *os.File
}

func (a *attempt) openCgroup()    {}
func (g *cgroup) weighs() bool    { return false }
func (g *cgroup) oomKilled() bool { return false }
func (g *cgroup) peak() int64     { return 0 }
func (g *cgroup) remove()         {}
func setSessionPriority(int, int) {}
func startTicks(int) uint64       { return 0 }
func bootID() string              { return "" }
