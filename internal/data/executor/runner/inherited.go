package runner

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes files that a careless ancestor of the plane left open: they are no business of the task, and a pipe among
// them would keep a stranger waiting for as long as the task lives. What this process has opened itself is marked to be closed
// on exec, what came through one is not: that tells them apart.
func closeInherited() {
	dir, err := os.Open("/dev/fd")
	if err != nil {
		fmt.Fprintln(os.Stderr, "biplane-runner: inherited files stay open:", err)
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read before an error is of use
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}
