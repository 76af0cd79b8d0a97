package executor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"biplane.dev/biplane/internal/data/executor/runner"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// folders keeps one private folder per attempt:
//
//	<root>/attempts/<org>/<project>/<domain>/<run>/<action>/<attempt>/   see the runner package for what is in it
//	<root>/trash/                                                        forgotten ones, until they are removed
//	<root>/plane.lock                                                    locked while a plane is alive
//
// The path is the name, so that a plane that lost its memory can read off the disk whose attempt it is.
type folders struct {
	root string
	// making keeps prune from removing a parent that make has just looked at.
	making sync.Mutex
}

const segments = 6 // of an attempt's path below attempts

func openFolders(root string) (*folders, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	// Linux tells a process's working directory without symbolic links; leftovers are known by it.
	for _, dir := range []string{"attempts", "trash"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, err
		}
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	f := &folders{root: root}
	return f, makeLock(f.planeLock())
}

func (f *folders) planeLock() string { return filepath.Join(f.root, "plane.lock") }
func (f *folders) attempts() string  { return filepath.Join(f.root, "attempts") }
func (f *folders) trash() string     { return filepath.Join(f.root, "trash") }

func (f *folders) path(id names.Attempt) string {
	return filepath.Join(f.attempts(), id.Org, id.Project.Project, id.Domain, id.Name, id.Action.Action, strconv.FormatUint(uint64(id.Number), 10))
}

// check refuses names that did not come through the names package: they become path segments here.
func check(id names.Attempt) error {
	err := errors.Join(names.Check("org", id.Org), names.Check("project", id.Project.Project), names.Check("domain", id.Domain),
		names.Check("run.name", id.Name), names.Check("action.name", id.Action.Action))
	if err == nil && id.Number == 0 {
		err = fault.Invalid("attempt", "is 0; attempts count from 1")
	}
	return err
}

func (f *folders) exists(id names.Attempt) bool {
	_, err := os.Stat(f.path(id))
	return err == nil
}

// make makes the attempt's folder and its lock file, unless they are there.
func (f *folders) make(id names.Attempt) error {
	f.making.Lock()
	defer f.making.Unlock()
	if err := os.MkdirAll(f.path(id), 0o700); err != nil {
		return err
	}
	return makeLock(filepath.Join(f.path(id), runner.LockFile))
}

// makeLock makes a lock's file unless it is there. It must not open one that is: closing it would cost this process the lock.
func makeLock(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// discard moves the attempt's folder out of sight, in one step, and leaves its removal to empty.
func (f *folders) discard(id names.Attempt) error {
	f.making.Lock()
	defer f.making.Unlock()
	bin, err := os.MkdirTemp(f.trash(), "")
	if err != nil {
		return err
	}
	path := f.path(id)
	if err := os.Rename(path, filepath.Join(bin, "attempt")); err != nil {
		return errors.Join(err, os.Remove(bin))
	}
	for range segments - 1 { // parents, up to the first that holds something else
		path = filepath.Dir(path)
		if os.Remove(path) != nil {
			break
		}
	}
	return nil
}

// empty removes what was discarded.
func (f *folders) empty() error {
	bins, err := os.ReadDir(f.trash())
	if err != nil {
		return err
	}
	for _, bin := range bins {
		path := filepath.Join(f.trash(), bin.Name())
		// The lock goes before the record: see runner.Lock.Linked.
		if gone := os.Remove(filepath.Join(path, "attempt", runner.LockFile)); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
			continue
		}
		err = errors.Join(err, removeAll(path))
	}
	return err
}

// removeAll also removes folders that a task has made read-only.
func removeAll(path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	}) // the removal says what is still wrong
	return os.RemoveAll(path)
}

// all lists the attempts that have a folder.
func (f *folders) all() ([]names.Attempt, error) {
	var ids []names.Attempt
	var descend func(dir string, path []string) error
	descend = func(dir string, path []string) error {
		if len(path) == segments {
			if id, ok := parse(path); ok {
				ids = append(ids, id)
			}
			return nil
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // forgotten meanwhile
		}
		for _, entry := range entries {
			err = errors.Join(err, descend(filepath.Join(dir, entry.Name()), append(path[:len(path):len(path)], entry.Name())))
		}
		return err
	}
	return ids, descend(f.attempts(), nil)
}

func parse(path []string) (names.Attempt, bool) {
	number, err := strconv.ParseUint(path[5], 10, 32)
	if err != nil {
		return names.Attempt{}, false
	}
	project := names.Project{Org: path[0], Project: path[1], Domain: path[2]}
	id := names.Attempt{Action: names.Action{Run: names.Run{Project: project, Name: path[3]}, Action: path[4]}, Number: uint32(number)}
	return id, check(id) == nil
}

// hasEnded reads the attempt's exit record. One that a crash of the machine has torn says that the attempt is lost.
func (f *folders) hasEnded(id names.Attempt) (record runner.Record, ended bool, err error) {
	record, err = runner.ReadRecord(f.path(id))
	switch {
	case errors.Is(err, runner.ErrTorn):
		return runner.Record{Code: -1, Lost: true, Ended: time.Now().UTC()}, true, nil
	case errors.Is(err, fs.ErrNotExist):
		return record, false, nil
	}
	return record, err == nil, err
}

// wasStarted reads which process the attempt is. A torn record counts as none here; a runner still sees that there is one.
func (f *folders) wasStarted(id names.Attempt) (runner.Task, bool) {
	task, err := runner.ReadTask(f.path(id))
	return task, err == nil
}

// isHeld says whether a runner is alive for the attempt.
func (f *folders) isHeld(id names.Attempt) (bool, error) {
	pid, err := runner.Holder(filepath.Join(f.path(id), runner.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return pid != 0, err
}
