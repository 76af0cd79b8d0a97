package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockPoll is how often a waiter looks again: flock has no way to wait that a context can end.
const lockPoll = 100 * time.Millisecond

// lock is a lock of the operating system on a file: shared by the users of a folder, exclusive for its builder and its
// remover. It belongs to the open file, so a child process that inherits the file holds it too, and it ends when the last
// of them has closed the file or died. It is therefore never unlocked explicitly.
type lock struct{ file *os.File }

// Close gives up this holder's share of the lock.
func (l *lock) Close() error { return l.file.Close() }

// acquire waits until the lock is held or ctx ends. waiting is told once when somebody else is in the way.
func acquire(ctx context.Context, path string, exclusive bool, waiting func()) (*lock, error) {
	for told := false; ; {
		l, err := tryAcquire(path, exclusive)
		if l != nil || err != nil {
			return l, err
		}
		if !told && waiting != nil {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// tryAcquire returns nil and no error when the lock is held by somebody else. The file of a lock may be removed by the
// holder of its exclusive lock; then the file that was opened is no longer the one at path, and the attempt starts over.
func tryAcquire(path string, exclusive bool) (*lock, error) {
	how := syscall.LOCK_SH | syscall.LOCK_NB
	if exclusive {
		how = syscall.LOCK_EX | syscall.LOCK_NB
	}
	for {
		file, err := openLock(path)
		if err != nil {
			return nil, err
		}
		for {
			err = syscall.Flock(int(file.Fd()), how)
			if !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if err != nil {
			_ = file.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, nil
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if sameFile(file, path) {
			return &lock{file: file}, nil
		}
		_ = file.Close()
	}
}

func openLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	return file, err
}

func sameFile(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	current, err := os.Stat(path)
	return err == nil && os.SameFile(opened, current)
}
