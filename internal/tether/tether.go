package tether

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Run runs the command to its end, as cmd.Run does. If this process dies before, the kernel kills the command; what the
// command has started itself is not covered.
func Run(cmd *exec.Cmd) error {
	// To the kernel the parent is the thread that forked: it must not end before the command does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	tie(cmd.SysProcAttr)
	return cmd.Run()
}
