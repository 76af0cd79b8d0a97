package runner

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxrssUnit = 1 << 10 // getrusage speaks of KiB here

// becomeSubreaper makes every orphan among the descendants a child of this process, however it detached itself.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphaned processes: %w", err)
	}
	return nil
}

// attributes of the task's process: its own session, and dead when the runner is.
func (a *attempt) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if a.group != nil {
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(a.group.dir.Fd())
	}
	return attributes
}

// killTree sends SIGKILL to everything of the attempt that it can see now.
func (a *attempt) killTree() {
	a.group.kill()
	for _, pid := range descendants(os.Getpid()) {
		killExactly(pid, os.Getpid())
	}
}

// awaitGroup has nothing to do where every descendant is reaped by this process.
func (a *attempt) awaitGroup() {}

// killExactly kills pid if it still descends from root: between the scan and now it may have ended, been reaped by its parent, and
// its number been given to a stranger. A pidfd cannot change its process.
func killExactly(pid, root int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ENOSYS || err == unix.EPERM {
		_ = syscall.Kill(pid, syscall.SIGKILL) // an old kernel or a strict sandbox: the remaining risk is microseconds wide
		return
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for ancestor := pid; ancestor != root; {
		if ancestor = parentOf(ancestor); ancestor <= 1 {
			return
		}
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// descendants are the processes below root, zombies included, in no order.
func descendants(root int) []int {
	var found []int
	seen := map[int]bool{root: true}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, child := range childrenOf(queue[0]) {
			if !seen[child] {
				seen[child] = true
				found = append(found, child)
				queue = append(queue, child)
			}
		}
	}
	return found
}

// childrenOf reads the kernel's own list where it keeps one (CONFIG_PROC_CHILDREN), per thread.
func childrenOf(pid int) (children []int) {
	threads := fmt.Sprintf("/proc/%d/task", pid)
	dir, err := os.Open(threads)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read before an error is of use
	for _, thread := range names {
		data, err := os.ReadFile(threads + "/" + thread + "/children")
		if err != nil {
			continue
		}
		for field := range bytes.FieldsSeq(data) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

func parentOf(pid int) int {
	fields, ok := stat(pid)
	if !ok {
		return 0
	}
	parent, _ := strconv.Atoi(fields[statParent])
	return parent
}

// Fields of /proc/PID/stat after the program's name, counted from the state (proc(5) numbers them from 3).
const (
	statState   = 0
	statParent  = 1
	statSession = 3
	statStart   = 19
)

func stat(pid int) ([]string, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, false
	}
	// The name may hold blanks and parentheses; the last one ends it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	return fields, len(fields) > statStart
}

// startTicks is when a process was started, in the kernel's ticks since boot: with its id and the boot it is unmistakable.
func startTicks(pid int) uint64 {
	fields, ok := stat(pid)
	if !ok {
		return 0
	}
	ticks, _ := strconv.ParseUint(fields[statStart], 10, 64)
	return ticks
}

func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
