package objects

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
)

// List walks the folders in the order of keys. It holds one folder's entries at a time for each level.
func (f *File) List(ctx context.Context, prefix Key, after Key, limit int) ([]Info, error) {
	if limit < 1 || limit > MaxList {
		limit = MaxList
	}
	walk := lister{bucket: f, after: string(after), limit: limit}
	if err := walk.folder(ctx, string(prefix)); err != nil {
		return nil, err
	}
	return walk.found, nil
}

type lister struct {
	bucket *File
	after  string
	limit  int
	found  []Info
}

// folder adds the objects below the key path, "" for all.
func (l *lister) folder(ctx context.Context, below string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := objectsFolder
	if below != "" {
		name = l.bucket.name(Key(below))
		below += "/"
	}
	// Without waiting and for folders only: a task may have put a named pipe where the caller expects a folder.
	folder, err := l.bucket.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer folder.Close()
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = folder.ReadDir(-1)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // nothing below it, or gone in the meantime
	}
	if err != nil {
		return l.bucket.problem(err, Key(below), "list")
	}
	// A folder's keys go on with '/', which sorts after "-" and "." and before letters: so must the folder itself.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, entry := range entries {
		if len(l.found) == l.limit {
			return nil
		}
		if CheckName("key", entry.Name()) != nil || len(below)+len(entry.Name()) > MaxKey {
			continue // put there by a task directly, under a name that no key can have
		}
		key := below + entry.Name()
		switch {
		case entry.IsDir():
			if inside := key + "/"; inside < l.after && !strings.HasPrefix(l.after, inside) {
				continue
			}
			if err := l.folder(ctx, key); err != nil {
				return err
			}
		case entry.Type().IsRegular() && key > l.after:
			stat, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return l.bucket.problem(err, Key(key), "list")
			}
			l.found = append(l.found, Info{Key: Key(key), Size: stat.Size(), Modified: stat.ModTime()})
		}
	}
	return nil
}

func sortName(entry fs.DirEntry) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}
