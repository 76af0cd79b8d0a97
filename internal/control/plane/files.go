package plane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"biplane.dev/biplane/internal/fault"
)

// lock makes sure that one process at a time works on a state folder. The kernel lets go of it however the process ends.
func lock(folder string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.New(fault.KindPrecondition, "another control plane runs on %s; stop it, or use another state folder", folder)
		}
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	return func() { file.Close() }, nil
}

// writeFile writes a line that only the owner may read, in one step, so that who waits for the file never reads half.
func writeFile(path, line string) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(line+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
