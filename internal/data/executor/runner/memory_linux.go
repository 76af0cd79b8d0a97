package runner

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// How often memory is measured: seldom when nothing can happen, often near the limit. A process that fills memory as fast as it can
// gets past the limit by what it touches in measureNear.
const (
	measureFar  = 500 * time.Millisecond // no limit: for the record only
	measure     = 100 * time.Millisecond
	measureNear = 25 * time.Millisecond // above half of the limit
)

// meter is the memory of the attempt as measured from outside.
type meter struct{ peak int64 }

// watchMemory measures, and ends an attempt that exceeds its limit. Where a cgroup enforces the limit this is for nothing but
// the record.
func (a *attempt) watchMemory() {
	limit := a.spec.MemoryLimit
	if a.group.limitsMemory() {
		return
	}
	interval := measure
	for {
		if limit <= 0 {
			interval = measureFar
		}
		select {
		case <-a.over:
			return
		case <-time.After(interval):
		}
		used := residentMemory(descendants(os.Getpid()), limit)
		a.meter.peak = max(a.meter.peak, used)
		interval = measure
		if used > limit/2 {
			interval = measureNear
		}
		if limit > 0 && used > limit {
			a.mu.Lock()
			a.tooLarge = true
			a.mu.Unlock()
			a.killAll()
			return
		}
	}
}

// residentMemory is what the processes hold together. Resident sizes count a page that forks share once for each of them; the
// proportional sizes are right and slow to get, so they are asked for only when it matters.
func residentMemory(pids []int, limit int64) int64 {
	var sum int64
	for _, pid := range pids {
		sum += residentSize(pid)
	}
	if limit <= 0 || sum <= limit {
		return sum
	}
	sum = 0
	for _, pid := range pids {
		sum += proportionalSize(pid)
	}
	return sum
}

func residentSize(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

func proportionalSize(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return residentSize(pid) // a process that does not let itself be looked into
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10
		}
	}
	return residentSize(pid)
}

// oomCounter tells whether the kernel's out-of-memory killer was at work meanwhile, near this process.
type oomCounter struct{ before uint64 }

func (c *oomCounter) begin()     { c.before = oomKills() }
func (c *oomCounter) rose() bool { return oomKills() > c.before }

// oomKills counts in the runner's own cgroup (a container, a service) where that tells, else in the whole machine.
func oomKills() uint64 {
	if path := OwnCgroup(); path != "" {
		if count, ok := field(path+"/memory.events", "oom_kill"); ok {
			return count
		}
	}
	count, _ := field("/proc/vmstat", "oom_kill")
	return count
}

// field reads "name value" from a file of such lines.
func field(path, name string) (uint64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func setSessionPriority(pid, nice int) {
	// Where the scheduler groups by session, the niceness of the session counts and not that of its processes.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(nice)), 0)
	// When memory runs out, the kernel shall choose a task and not its runner or the plane.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
}
