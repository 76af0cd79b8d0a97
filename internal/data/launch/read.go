package launch

import (
	"context"
	"io"
	"os"
	"strings"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

// Read returns the content at uri: an object of the bucket, or a plain file where a run chose its base outside. With limit
// >= 0 more bytes than that are a fault of KindTooLarge; nothing there is KindNotFound.
func Read(ctx context.Context, bucket objects.Bucket, uri string, limit int64) ([]byte, error) {
	key, err := bucket.Key(uri)
	if err != nil {
		if isOutside(uri) {
			return readOutside(uri, limit)
		}
		return nil, err
	}
	content, info, err := bucket.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if limit >= 0 && info.Size > limit {
		return nil, fault.New(fault.KindTooLarge, "%s holds %d bytes, more than the %d that are read", uri, info.Size, limit)
	}
	raw := make([]byte, info.Size)
	if _, err := io.ReadFull(content, raw); err != nil {
		return nil, fault.New(fault.KindUnavailable, "%s was cut short while it was read; try again", uri)
	}
	return raw, nil
}

// isOutside says that a URI is a plain path, which a run may have chosen as its base outside the bucket.
func isOutside(uri string) bool { return strings.HasPrefix(uri, "/") }

func readOutside(uri string, limit int64) ([]byte, error) {
	info, err := os.Stat(uri)
	switch {
	case os.IsNotExist(err):
		return nil, fault.NotFound("file", uri)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fault.Invalid("uri", "%s is not a file", uri)
	case limit >= 0 && info.Size() > limit:
		return nil, fault.New(fault.KindTooLarge, "%s holds %d bytes, more than the %d that are read", uri, info.Size(), limit)
	}
	return os.ReadFile(uri)
}
