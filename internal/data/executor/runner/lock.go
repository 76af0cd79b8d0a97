package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// ErrHeld says that another process holds the lock.
var ErrHeld = errors.New("the lock is held by another process")

// Lock is a POSIX record lock on a whole file: it ends with the process, whatever ends it, is not inherited by children, and
// the kernel tells others who holds it. The price: a process that opens and closes the file again by any other way loses
// its lock. So a holder must never ask Holder about its own file.
type Lock struct{ file *os.File }

// Hold takes the lock on an existing file, without waiting. It fails with ErrHeld when another process has it.
func Hold(path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	request := whole(syscall.F_WRLCK)
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &request); err != nil {
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			err = ErrHeld
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return &Lock{file: file}, nil
}

// Linked says whether the file still has its name. A folder is removed lock first: a runner that comes late, sees no record
// of an end, and still holds a named lock knows that the record was not just removed before its eyes.
func (l *Lock) Linked() bool {
	var stat syscall.Stat_t
	return syscall.Fstat(int(l.file.Fd()), &stat) == nil && stat.Nlink > 0
}

// Release gives the lock back.
func (l *Lock) Release() error { return l.file.Close() }

// Holder is the process that holds the lock on the file path, 0 when none does.
func Holder(path string) (pid int, err error) {
	watch, err := OpenWatch(path)
	if err != nil {
		return 0, err
	}
	defer watch.Close()
	return watch.Holder()
}

// Watch asks about one lock many times.
type Watch struct{ file *os.File }

// OpenWatch prepares asking about the lock on an existing file.
func OpenWatch(path string) (*Watch, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Watch{file: file}, nil
}

// Holder is the process that holds the lock now, 0 when none does.
func (w *Watch) Holder() (pid int, err error) {
	request := whole(syscall.F_WRLCK)
	if err := syscall.FcntlFlock(w.file.Fd(), syscall.F_GETLK, &request); err != nil {
		return 0, fmt.Errorf("ask for the lock on %s: %w", w.file.Name(), err)
	}
	if request.Type == syscall.F_UNLCK {
		return 0, nil
	}
	return int(request.Pid), nil
}

// Close ends the watch.
func (w *Watch) Close() error { return w.file.Close() }

func whole(kind int16) syscall.Flock_t {
	return syscall.Flock_t{Type: kind, Whence: io.SeekStart}
}
