package objects

import (
	"os"

	"golang.org/x/sys/unix"
)

// openBelow opens a file for reading that lies below the folder, as root.OpenFile does, but lets the kernel walk: one call rather than two
// for each folder on the way. A kernel that cannot (before 5.6, or with the call forbidden), and whatever this call refuses, is left to root: it
// refuses the same, in its own words.
func openBelow(root *os.Root, folder *os.File, name string, flags int) (*os.File, error) {
	opened := -1
	if raw, err := folder.SyscallConn(); err == nil {
		_ = raw.Control(func(at uintptr) { // fails when the bucket is closed; so does root then
			how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_LARGEFILE), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
			if fd, err := unix.Openat2(int(at), name, &how); err == nil {
				opened = fd
			}
		})
	}
	if opened < 0 {
		return root.OpenFile(name, flags, 0)
	}
	return os.NewFile(uintptr(opened), name), nil
}
