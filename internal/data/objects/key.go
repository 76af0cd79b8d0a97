package objects

import (
	"strings"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// MaxName is the longest segment of a key in bytes: what file systems hold.
const MaxName = names.MaxFile

// MaxKey is the longest key in bytes: what S3 holds.
const MaxKey = 1024

// Key is an object's place in the bucket: segments joined by '/', none of them empty, "." or "..". Only NewKey, ParseKey and
// Bucket.Key make one.
type Key string

// NewKey joins segments to a key. Each must pass CheckName; names of ours (project, run, action) have passed names.Check
// before, which is stricter.
func NewKey(segments ...string) (Key, error) {
	if len(segments) == 0 {
		return "", fault.Invalid("key", "is empty")
	}
	for _, segment := range segments {
		if err := CheckName("key", segment); err != nil {
			return "", err
		}
	}
	key := strings.Join(segments, "/")
	if len(key) > MaxKey {
		return "", fault.Invalid("key", "is %d bytes long; at most %d are allowed", len(key), MaxKey)
	}
	return Key(key), nil
}

// ParseKey is NewKey of the segments of path, which are separated by '/'.
func ParseKey(path string) (Key, error) {
	if len(path) > MaxKey {
		return "", fault.Invalid("key", "is %d bytes long; at most %d are allowed", len(path), MaxKey)
	}
	return NewKey(strings.Split(path, "/")...)
}

// Join is the key of segments below k.
func (k Key) Join(segments ...string) (Key, error) {
	if k == "" {
		return NewKey(segments...)
	}
	return NewKey(append(strings.Split(string(k), "/"), segments...)...)
}

// Name is the last segment.
func (k Key) Name() string { return string(k[strings.LastIndexByte(string(k), '/')+1:]) }

// CheckName accepts value as one segment of a key. Users' own file names end up here (the SDK uploads them as they are).
func CheckName(field, value string) error { return names.CheckFile(field, value) }
