package plane

import "golang.org/x/sys/unix"

func machineMemory() (int64, error) {
	bytes, err := unix.SysctlUint64("hw.memsize")
	return int64(bytes), err
}
