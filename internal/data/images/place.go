package images

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/fault"
)

const (
	readyFile = ".ready" // written last: what describes the finished folder
	usedFile  = ".used"  // its modification time is the last use
	// stampEvery is how exact the last use is kept.
	stampEvery = time.Minute
)

// place is a folder of the cache that is built once, used by many and removed when nobody has used it for long.
type place struct {
	kind string // the folder of its like: "envs", "tools"
	key  string
}

func (s *Store) folder(p place) string { return filepath.Join(s.cache, p.kind, p.key) }

func (s *Store) lockOf(p place) string {
	return filepath.Join(s.cache, "locks", p.kind+"-"+p.key+".lock")
}

// marker reads what describes the finished folder; false when it is not finished.
func (s *Store) marker(p place, into any) bool {
	content, err := os.ReadFile(filepath.Join(s.folder(p), readyFile))
	return err == nil && json.Unmarshal(content, into) == nil
}

// provide makes sure that the folder is finished. Builders of the same place, in any process, wait for each other; what a
// builder that died has left is removed first. build makes the content and returns what describes it; when it fails
// nothing is left.
func (s *Store) provide(ctx context.Context, p place, what string, progress Progress, build func(root string, held *lock) (any, error)) error {
	held, err := s.claim(ctx, p, func() { progress.say("Waiting: another process is building or using %s", what) })
	if held == nil || err != nil {
		return err
	}
	defer func() { _ = held.Close() }()
	if s.finished(p) {
		return s.stamp(p)
	}
	root := s.folder(p)
	if _, err := os.Lstat(root); err == nil {
		progress.say("Removing what an interrupted build of %s has left", what)
	}
	if err := errors.Join(os.RemoveAll(root), os.MkdirAll(root, 0o700)); err != nil {
		return s.buildFault(err)
	}
	description, err := build(root, held)
	if err == nil {
		err = s.finish(p, description)
	}
	if err != nil {
		if cleanup := os.RemoveAll(root); cleanup != nil {
			progress.say("What was built of %s could not be removed: %v", what, cleanup)
		}
		return s.buildFault(err)
	}
	return nil
}

// claim waits for the right to build the folder; nil when somebody else has finished it. It looks for that while it waits: once
// the folder is finished it is in use, and its users do not let go of the lock for as long as their tasks run.
func (s *Store) claim(ctx context.Context, p place, waiting func()) (*lock, error) {
	for told := false; ; {
		if s.finished(p) {
			if used, err := s.use(ctx, p); used || err != nil {
				return nil, err
			}
		}
		held, err := tryAcquire(s.lockOf(p), true)
		if held != nil || err != nil {
			return held, s.buildFault(err)
		}
		if !told {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, s.buildFault(ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// finished says whether the folder is complete and its interpreter still there: one whose Python was removed from the
// machine is built again.
func (s *Store) finished(p place) bool {
	if _, err := os.Stat(filepath.Join(s.folder(p), readyFile)); err != nil {
		return false
	}
	for _, python := range []string{"bin/python", "venv/bin/python"} {
		if _, err := os.Stat(filepath.Join(s.folder(p), python)); err == nil {
			return true
		}
	}
	return false
}

func (s *Store) finish(p place, description any) error {
	content, err := json.Marshal(description)
	if err != nil {
		return err
	}
	if err := s.stamp(p); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.folder(p), readyFile), content)
}

// use stamps a finished folder as used now, at most once in stampEvery. It is false when the folder was removed meanwhile.
func (s *Store) use(ctx context.Context, p place) (bool, error) {
	if age, ok := s.unusedFor(p); ok && age < stampEvery {
		return true, nil // nobody removes what was used this recently
	}
	held, err := acquire(ctx, s.lockOf(p), false, nil)
	if err != nil {
		return false, s.buildFault(err)
	}
	defer func() { _ = held.Close() }()
	if !s.finished(p) {
		return false, nil
	}
	return true, s.stamp(p)
}

// unusedFor is the time since the last use.
func (s *Store) unusedFor(p place) (time.Duration, bool) {
	info, err := os.Stat(filepath.Join(s.folder(p), usedFile))
	if err != nil {
		return 0, false
	}
	return time.Since(info.ModTime()), true
}

func (s *Store) stamp(p place) error {
	path := filepath.Join(s.folder(p), usedFile)
	now := time.Now()
	err := os.Chtimes(path, now, now)
	if errors.Is(err, os.ErrNotExist) {
		err = os.WriteFile(path, nil, 0o600)
	}
	return s.buildFault(err)
}

// Hold keeps an environment from being removed, by this plane or another one, until it is closed or this process ends.
type Hold struct{ held *lock }

// Hold is taken by whoever runs something in the environment with this key. It fails with KindNotFound when it is no longer
// there: resolve the image again.
func (s *Store) Hold(ctx context.Context, key string) (*Hold, error) {
	p := place{kind: "envs", key: key}
	if !s.finished(p) {
		return nil, fault.NotFound("environment", key)
	}
	held, err := acquire(ctx, s.lockOf(p), false, nil)
	if err != nil {
		return nil, s.buildFault(err)
	}
	if !s.finished(p) {
		return nil, errors.Join(fault.NotFound("environment", key), held.Close())
	}
	return &Hold{held: held}, nil
}

// Close ends the hold.
func (h *Hold) Close() error { return h.held.Close() }
