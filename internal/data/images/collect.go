package images

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// collectFloor is the shortest time for which an unused environment is kept, whatever Collect is told: between Resolve and
// Hold nothing but the stamp of the last use protects it, and that is exact to stampEvery.
const collectFloor = 10 * time.Minute

// Collected says what Collect did.
type Collected struct {
	Removed []string // keys of environments and tools
	InUse   int      // unused for long, but held or kept
	Cleared bool     // the downloads were more than the limit and were removed
}

// Collect removes environments that nobody has used for olderThan, that keep does not claim (by key, for the runs of this plane)
// and that nobody holds, in this plane or another one; and what is left of builds that died. It never touches recipes and
// tags, so whatever it removes comes back when it is needed.
func (s *Store) Collect(ctx context.Context, keep func(key string) bool, olderThan time.Duration) (Collected, error) {
	olderThan = max(olderThan, collectFloor)
	var done Collected
	// The plane's own base and uv stay, so that it can work when there is no network.
	own, err := s.interpreterFor(ctx, "", nil)
	if err != nil {
		return done, err
	}
	base := s.placeOf(baseRecipe(own.minor(), SDKVersion), own)
	for _, kind := range []string{"envs", "tools"} {
		entries, err := os.ReadDir(filepath.Join(s.cache, kind))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return done, fault.Wrap(err, fault.KindInternal, "the cache folder cannot be read")
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return done, err
			}
			p := place{kind: kind, key: entry.Name()}
			if !entry.IsDir() || p == base || p == s.toolPlace(own) || !s.unused(p, olderThan) {
				continue
			}
			if keep != nil && keep(p.key) {
				done.InUse++
				continue
			}
			removed, err := s.remove(p, olderThan)
			if err != nil {
				return done, fault.Wrap(err, fault.KindInternal, "the environment %s cannot be removed", p.key)
			}
			if removed {
				done.Removed = append(done.Removed, p.key)
			} else {
				done.InUse++
			}
		}
	}
	cleared, err := s.limitDownloads(ctx)
	done.Cleared = cleared
	return done, err
}

// unused says whether a folder is old enough to go. A folder without a marker is one that is being built, which its lock
// tells, or a leftover.
func (s *Store) unused(p place, olderThan time.Duration) bool {
	if _, err := os.Stat(filepath.Join(s.folder(p), readyFile)); err != nil {
		return true
	}
	age, ok := s.unusedFor(p)
	return !ok || age >= olderThan
}

// remove takes the exclusive lock, so that nobody builds, holds or stamps the folder meanwhile, looks again, and removes the
// folder, the marker first, and then the lock's file. It is false when the folder is in use.
func (s *Store) remove(p place, olderThan time.Duration) (bool, error) {
	held, err := tryAcquire(s.lockOf(p), true)
	if held == nil || err != nil {
		return false, err
	}
	defer func() { _ = held.Close() }()
	if !s.unused(p, olderThan) {
		return false, nil
	}
	if err := os.Remove(filepath.Join(s.folder(p), readyFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return true, errors.Join(os.RemoveAll(s.folder(p)), os.Remove(s.lockOf(p)))
}

// limitDownloads empties uv's cache when it has grown over its limit; what environments share with it stays theirs.
func (s *Store) limitDownloads(ctx context.Context) (bool, error) {
	var size int64
	err := filepath.WalkDir(s.downloadsFolder(), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return ignoreMissing(err)
		}
		info, err := entry.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if size += info.Size(); size > s.downloads {
			return filepath.SkipAll
		}
		return ctx.Err()
	})
	if err != nil || size <= s.downloads {
		return false, err
	}
	uv, err := s.tool(ctx, nil)
	if err != nil {
		return false, err
	}
	// uv itself waits for others of its kind that are using the cache.
	err = s.run(ctx, command{what: "empty the downloads", args: []string{uv, "cache", "clean", "--quiet"}}, nil)
	return err == nil, s.buildFault(err)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
