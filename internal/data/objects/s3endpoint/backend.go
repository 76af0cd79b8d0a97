package s3endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/rclone/gofakes3"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

// backend gives gofakes3 one bucket, whose names are checked keys below the served prefixes. Metadata of clients is dropped.
type backend struct {
	bucket  objects.Bucket
	options Options
	forget  func(ctx context.Context, bucket, object string, id gofakes3.UploadID) error

	mu      sync.Mutex // protects uploads, not what is in them
	uploads map[gofakes3.UploadID]*upload
}

var (
	_ gofakes3.Backend          = (*backend)(nil)
	_ gofakes3.MultipartBackend = (*backend)(nil)
)

// readTries is how often a read starts again because the object was replaced between looking at it and opening it.
const readTries = 4

// key checks a name of the client.
func (b *backend) key(name string) (objects.Key, error) {
	key, err := objects.ParseKey(name)
	if err != nil {
		return "", err
	}
	if !b.options.serves(name) {
		return "", fault.Invalid("key", "%q is not below %q, where this data plane keeps raw data", name, b.options.Prefixes)
	}
	return key, nil
}

func (b *backend) ListBuckets(context.Context) ([]gofakes3.BucketInfo, error) {
	return []gofakes3.BucketInfo{{Name: b.options.Name}}, nil
}

func (b *backend) BucketExists(_ context.Context, name string) (bool, error) {
	return name == b.options.Name, nil
}

func (b *backend) CreateBucket(_ context.Context, name string) error {
	if name == b.options.Name {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	return gofakes3.ErrorMessage(gofakes3.ErrNotImplemented, "the data plane has one bucket, and makes no other")
}

func (b *backend) DeleteBucket(context.Context, string) error {
	return gofakes3.ErrorMessage(gofakes3.ErrNotImplemented, "the bucket of the data plane cannot be deleted")
}

func (b *backend) HeadObject(ctx context.Context, _, name string) (*gofakes3.Object, error) {
	key, err := b.key(name)
	if err != nil {
		return nil, b.problem(ctx, name, err)
	}
	info, err := b.bucket.Stat(ctx, key)
	if err != nil {
		return nil, b.problem(ctx, name, err)
	}
	return object(info, http.NoBody, nil), nil
}

func (b *backend) GetObject(ctx context.Context, _, name string, request *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	key, err := b.key(name)
	if err != nil {
		return nil, b.problem(ctx, name, err)
	}
	for range readTries {
		info, err := b.bucket.Stat(ctx, key)
		if err != nil {
			return nil, b.problem(ctx, name, err)
		}
		part, err := request.Range(info.Size)
		if err != nil {
			return nil, err
		}
		offset, length := int64(0), info.Size
		if part != nil {
			offset, length = part.Start, part.Length
		}
		content, opened, err := b.bucket.Get(ctx, key, offset, length)
		if err == nil && opened.Size == info.Size && opened.Modified.Equal(info.Modified) {
			return object(info, content, part), nil
		}
		if err == nil {
			err = content.Close()
		}
		if err != nil && !fault.Is(err, fault.KindInvalid) { // invalid: the new object is shorter than the offset
			return nil, b.problem(ctx, name, err)
		}
	}
	return nil, gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "the object is being replaced all the time; read it later")
}

func object(info objects.Info, content io.ReadCloser, part *gofakes3.ObjectRange) *gofakes3.Object {
	return &gofakes3.Object{
		Name: string(info.Key), Size: info.Size, Hash: info.MD5[:], Contents: content, Range: part,
		Metadata: map[string]string{"Last-Modified": info.Modified.UTC().Format(http.TimeFormat), "Content-Type": "application/octet-stream"},
	}
}

func (b *backend) PutObject(ctx context.Context, _, name string, _ map[string]string, content io.Reader, size int64) (gofakes3.PutObjectResult, error) {
	info, err := b.put(ctx, name, content, size)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	return gofakes3.PutObjectResult{ETag: etag(info.MD5)}, nil
}

func (b *backend) put(ctx context.Context, name string, content io.Reader, size int64) (objects.Info, error) {
	key, err := b.key(name)
	if err != nil {
		return objects.Info{}, b.problem(ctx, name, err)
	}
	if size > b.options.MaxObject {
		return objects.Info{}, gofakes3.ErrEntityTooLarge
	}
	info, err := b.bucket.Put(ctx, key, content, objects.PutOptions{Size: size})
	if err != nil {
		return objects.Info{}, b.problem(ctx, name, err)
	}
	return info, nil
}

func (b *backend) CopyObject(ctx context.Context, _, from, _, to string, _ map[string]string) (gofakes3.CopyObjectResult, error) {
	key, err := b.key(from)
	if err != nil {
		return gofakes3.CopyObjectResult{}, b.problem(ctx, from, err)
	}
	content, info, err := b.bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return gofakes3.CopyObjectResult{}, b.problem(ctx, from, err)
	}
	defer content.Close()
	info, err = b.put(ctx, to, content, info.Size)
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	return gofakes3.CopyObjectResult{ETag: etag(info.MD5), LastModified: gofakes3.NewContentTime(info.Modified)}, nil
}

func (b *backend) DeleteObject(ctx context.Context, _, name string) (gofakes3.ObjectDeleteResult, error) {
	key, err := b.key(name)
	if err == nil {
		err = b.bucket.Delete(ctx, key)
	}
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, b.problem(ctx, name, err)
	}
	return gofakes3.ObjectDeleteResult{}, nil
}

func (b *backend) DeleteMulti(ctx context.Context, bucket string, names ...string) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	for _, name := range names {
		if _, err := b.DeleteObject(ctx, bucket, name); err != nil {
			failed := gofakes3.ErrorResultFromError(err)
			failed.Key = name
			result.Error = append(result.Error, failed)
			continue
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: name})
	}
	return result, nil
}

func etag(sum [16]byte) string { return fmt.Sprintf(`"%x"`, sum) }

// problem gives an error the code that an S3 client understands; 503 SlowDown makes it try again.
func (b *backend) problem(ctx context.Context, name string, err error) error {
	var code gofakes3.ErrorCode
	var response *gofakes3.ErrorResponse
	var tooMany *http.MaxBytesError
	switch { // what the reader of the body said
	case errors.As(err, &response):
		return response
	case errors.As(err, &code):
		return code
	case errors.As(err, &tooMany):
		return gofakes3.ErrEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "the upload stalled; send it again")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return gofakes3.ErrIncompleteBody
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "the disk of the data plane's bucket is full; make room there and try again")
	}
	switch fault.KindOf(err) {
	case fault.KindInvalid:
		return gofakes3.ErrorMessage(gofakes3.ErrInvalidArgument, err.Error())
	case fault.KindNotFound:
		return gofakes3.KeyNotFound(name)
	case fault.KindExists:
		return gofakes3.ErrorMessage(gofakes3.ErrInvalidRequest, err.Error())
	case fault.KindTooLarge:
		return gofakes3.ErrEntityTooLarge
	case fault.KindUnavailable, fault.KindExhausted:
		return gofakes3.ErrorMessage(gofakes3.ErrSlowDown, err.Error())
	}
	b.options.Log.ErrorContext(ctx, "raw data request failed", "key", strings.ToValidUTF8(name, "?"), "error", err, "cause", errors.Unwrap(err))
	return gofakes3.ErrInternal
}
