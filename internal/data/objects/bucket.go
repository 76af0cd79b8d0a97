package objects

import (
	"context"
	"io"
	"time"
)

// Key is an object's place in the bucket: segments joined by '/', none of them empty, "." or "..". Only NewKey and
// Bucket.Key make one.
type Key string

// Info describes a stored object.
type Info struct {
	Key      Key
	Size     int64
	MD5      [16]byte
	Modified time.Time
}

// PutOptions say what the writer promises; a broken promise is a fault of KindInvalid and nothing is stored.
type PutOptions struct {
	Size   int64     // bytes to come; -1 when not known
	MD5    *[16]byte // of the content
	Absent bool      // fail with KindExists when the key holds an object with other content; equal content is a success
}

// Bucket stores objects. A reader sees a whole object or none, never half of one. A missing object is a fault of KindNotFound; a full disk is
// KindUnavailable and leaves nothing behind.
type Bucket interface {
	// URI is the address that a task or client uses for key.
	URI(key Key) string
	// Key is the inverse of URI; an address outside this bucket, or of another scheme, is KindInvalid.
	Key(uri string) (Key, error)
	Put(ctx context.Context, key Key, content io.Reader, options PutOptions) (Info, error)
	// Get reads length bytes from offset; length -1 reads to the end. An offset beyond the end is KindInvalid.
	Get(ctx context.Context, key Key, offset, length int64) (io.ReadCloser, Info, error)
	Stat(ctx context.Context, key Key) (Info, error)
	// List returns up to limit objects below the prefix in key order, after the given key ("" for the start). MD5 may be unset.
	List(ctx context.Context, prefix Key, after Key, limit int) ([]Info, error)
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, key Key) error
}
