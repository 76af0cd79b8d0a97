package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/secret"
	"biplane.dev/biplane/internal/fault"
)

// Limits of the file; it is rewritten at every change and kept in memory.
const (
	maxEntries = 4096
	maxFile    = 32 << 20 // bytes of values and names
)

// entry is a secret in the file, before encryption.
type entry struct {
	Org     string            `json:"org"`
	Domain  string            `json:"domain,omitempty"`
	Project string            `json:"project,omitempty"`
	Name    string            `json:"name"`
	Type    secret.SecretType `json:"type,omitempty"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
	Value   []byte            `json:"value"`
}

func (e entry) id() ID {
	return ID{Scope: Scope{Org: e.Org, Domain: e.Domain, Project: e.Project}, Name: e.Name}
}

func (e entry) info() Info {
	return Info{ID: e.id(), Type: e.Type, Created: e.Created, Updated: e.Updated}
}

// String hides the value from whoever prints an entry.
func (e entry) String() string { return "secret " + e.Name }

// GoString hides the value as String does.
func (e entry) GoString() string { return e.String() }

// file is a Backend in one encrypted file.
type file struct {
	path string
	box  *box

	mu      sync.RWMutex
	entries []entry // in order of their ids
}

// OpenFile returns the backend in the file at path, encrypted with the key in the file at keyPath. Neither needs to
// exist. Only one process may have the file open: the owner of the state folder.
//
// A key that is lost or changed is an error: the values cannot be read, and starting empty would overwrite them.
func OpenFile(path, keyPath string) (Backend, error) {
	sealed, err := readBounded(path, 2*maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	exists := err == nil
	box, err := openBox(keyPath, !exists)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open secrets: %s is there, but its key %s is not; "+
			"put the key back, or remove the secrets to start without any", path, keyPath)
	}
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	f := &file{path: path, box: box}
	if !exists {
		return f, nil
	}
	plain, err := box.open(sealed)
	if err != nil {
		return nil, fmt.Errorf("open secrets: %s is damaged or was written with another key than %s", path, keyPath)
	}
	if err := json.Unmarshal(plain, &f.entries); err != nil {
		return nil, fmt.Errorf("open secrets: %s was written by another version of the program", path) // the cause could quote a value
	}
	return f, nil
}

func (f *file) find(id ID) (int, bool) {
	return slices.BinarySearchFunc(f.entries, id, func(e entry, id ID) int { return e.id().compare(id) })
}

func missing(id ID) error {
	return fault.New(fault.KindNotFound, "secret %q does not exist in this scope; see what exists with: flyte get secret", id.Name)
}

func (f *file) Create(_ context.Context, id ID, kind secret.SecretType, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, found := f.find(id)
	if found {
		return fault.New(fault.KindExists, "secret %q exists already; delete it first with: flyte delete secret %s", id.Name, id.Name)
	}
	now := time.Now().UTC()
	e := entry{Org: id.Org, Domain: id.Domain, Project: id.Project, Name: id.Name, Type: kind, Created: now, Updated: now, Value: bytes.Clone(value)}
	return f.write(slices.Insert(slices.Clone(f.entries), at, e))
}

func (f *file) Update(_ context.Context, id ID, kind secret.SecretType, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, found := f.find(id)
	if !found {
		return missing(id)
	}
	changed := slices.Clone(f.entries)
	changed[at].Type, changed[at].Value, changed[at].Updated = kind, bytes.Clone(value), time.Now().UTC()
	return f.write(changed)
}

func (f *file) Delete(_ context.Context, id ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, found := f.find(id)
	if !found {
		return missing(id)
	}
	return f.write(slices.Delete(slices.Clone(f.entries), at, at+1))
}

func (f *file) Info(_ context.Context, id ID) (Info, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, found := f.find(id)
	if !found {
		return Info{}, missing(id)
	}
	return f.entries[at].info(), nil
}

func (f *file) Value(_ context.Context, id ID) ([]byte, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	at, found := f.find(id)
	if !found {
		return nil, missing(id)
	}
	return append([]byte{}, f.entries[at].Value...), nil
}

func (f *file) List(_ context.Context, scope Scope, after *ID, limit int) ([]Info, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var list []Info
	for _, e := range f.entries {
		if len(list) == limit {
			break
		}
		if e.id().within(scope) && (after == nil || e.id().compare(*after) > 0) {
			list = append(list, e.info())
		}
	}
	return list, nil
}

// write replaces the file and then what is in memory: a change that is not on disk has not happened.
func (f *file) write(entries []entry) error {
	size := 0
	for _, e := range entries {
		size += len(e.Value) + len(e.Name)
	}
	if len(entries) > maxEntries || size > maxFile {
		return fault.New(fault.KindExhausted, "the plane keeps at most %d secrets with %d MiB in all; delete some first", maxEntries, maxFile>>20)
	}
	plain, err := json.Marshal(entries)
	if err != nil {
		return fault.New(fault.KindInternal, "the secrets could not be written down") // the cause could quote a value
	}
	if err := replaceFile(f.path, f.box.seal(plain)); err != nil {
		const message = "the plane cannot write its secrets: the disk is full or failing; make room and try again"
		return &fault.Fault{Kind: fault.KindUnavailable, Message: message, Cause: err}
	}
	f.entries = entries
	return nil
}

func readBounded(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s is %d bytes large, more than this program writes", path, info.Size())
	}
	return os.ReadFile(path)
}
