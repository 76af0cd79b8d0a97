package runner

import (
	"math"
	"syscall"
)

// fullMillis is the request that gets the priority of an ordinary program; smaller requests get less. A plain one-core task is a little below
// it, so that the plane itself is served first.
const fullMillis = 1500

// setPriority makes the CPU request a weight. Without a cgroup the only weight that an unprivileged process may set is a lower
// one, so the plane and the machine's owner come before any task, and tasks share what is left in proportion: one step of
// niceness is a factor of 1.25 in the Linux scheduler. What the task has started in its first moments keeps its weight.
func (a *attempt) setPriority() {
	if a.group.weighs() {
		return
	}
	nice := niceness(a.spec.CPUMillis)
	_ = syscall.Setpriority(syscall.PRIO_PGRP, a.pid, nice) // a weight is a favour: without it the task still runs
	setSessionPriority(a.pid, nice)
}

func niceness(millis int64) int {
	if millis <= 0 {
		millis = 1000
	}
	return min(max(0, int(math.Round(math.Log(fullMillis/float64(millis))/math.Log(1.25)))), 19)
}
