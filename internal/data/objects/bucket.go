package objects

import (
	"context"
	"io"
	"time"
)

// Info describes a stored object.
type Info struct {
	Key  Key
	Size int64
	// MD5 is of the content. Stat and Put always give it; Get and List leave it zero where finding it would mean to read the object.
	MD5      [16]byte
	Modified time.Time
}

// HasMD5 says whether MD5 is set.
func (i Info) HasMD5() bool { return i.MD5 != [16]byte{} }

// PutOptions say what the writer promises; a broken promise is a fault of KindInvalid and nothing is stored.
type PutOptions struct {
	Size   int64     // bytes to come; -1 when not known
	MD5    *[16]byte // of the content
	Absent bool      // fail with KindExists when the key holds an object with other content; equal content is a success
}

// Bucket stores objects. A reader sees a whole object or none, never half of one. A missing object is a fault of KindNotFound; a
// full disk is KindUnavailable and leaves nothing behind. A key below an object, or with objects below it, holds no object: Put answers KindExists.
type Bucket interface {
	// URI is the address that a task or client uses for key.
	URI(key Key) string
	// Key is the inverse of URI; an address outside this bucket, or of another scheme, is KindInvalid. One '/' at the end is
	// ignored, for clients write folders so.
	Key(uri string) (Key, error)
	// Put stores content. What content's Read returns as an error is in the chain of Put's.
	Put(ctx context.Context, key Key, content io.Reader, options PutOptions) (Info, error)
	// Get reads length bytes from offset; length -1 reads to the end, and what lies beyond the end is not there. An offset
	// beyond the end is KindInvalid. The reader goes on reading what it was opened on when the object is replaced or deleted.
	Get(ctx context.Context, key Key, offset, length int64) (io.ReadCloser, Info, error)
	Stat(ctx context.Context, key Key) (Info, error)
	// List returns up to limit objects below the prefix ("" for all) in the order of their keys' bytes, after the given key
	// ("" for the start; it need not exist). A limit outside 1 to MaxList counts as MaxList.
	List(ctx context.Context, prefix Key, after Key, limit int) ([]Info, error)
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, key Key) error
}

// MaxList is the most objects that one call of List returns.
const MaxList = 1000
