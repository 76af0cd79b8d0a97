package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KillLeftovers ends what is alive of a task whose runner has vanished (somebody killed it), and returns when nothing is. The
// task itself died with its runner. Its descendants are known by their session, by the cgroup, and by a working directory
// within the attempt's folder; one that left all three cannot be told from a stranger.
func KillLeftovers(task Task, folder string) error {
	if task.Cgroup != "" && filepath.IsAbs(task.Cgroup) {
		if err := KillCgroup(task.Cgroup); err != nil {
			return err
		}
		_ = syscall.Rmdir(task.Cgroup) // gone already, or left to the next sweep
	}
	for deadline := time.Now().Add(removeLimit); ; time.Sleep(killEvery) {
		left := leftovers(task, folder)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of a lost attempt do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func leftovers(task Task, folder string) (pids []int) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	sameBoot := task.PID > 1 && task.Boot == bootID()
	for _, process := range processes {
		pid, err := strconv.Atoi(process.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		fields, ok := stat(pid)
		if !ok || fields[statState] == "Z" {
			continue
		}
		if sameBoot && inSession(task, pid, fields) || worksIn(pid, folder) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// inSession says whether a process belongs to the session that the task began. The number of a session is not given away
// again while a member lives; a leader that was started at another time is the sign that it was.
func inSession(task Task, pid int, fields []string) bool {
	if fields[statSession] != strconv.Itoa(task.PID) {
		return false
	}
	started, err := strconv.ParseUint(fields[statStart], 10, 64)
	if err != nil || started < task.Ticks {
		return false
	}
	leader := startTicks(task.PID)
	return leader == 0 || leader == task.Ticks
}

func worksIn(pid int, folder string) bool {
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && strings.HasPrefix(strings.TrimSuffix(dir, " (deleted)")+"/", folder+"/"+WorkDir+"/")
}

// Signal sends SIGTERM to the runner that holds the lock in folder, and to nobody else: the lock is asked for again when the process
// is held by a pidfd and cannot change any more.
func Signal(folder string) error {
	lock := filepath.Join(folder, LockFile)
	pid, err := Holder(lock)
	if err != nil || pid == 0 {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ENOSYS || err == unix.EPERM {
		return syscall.Kill(pid, syscall.SIGTERM)
	}
	if err != nil {
		return nil // it ended
	}
	defer unix.Close(fd)
	if again, err := Holder(lock); err != nil || again != pid {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}
