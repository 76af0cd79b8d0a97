package launch

import (
	"context"
	"io"

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
	return io.ReadAll(content)
}
