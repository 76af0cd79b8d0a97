package s3endpoint

import (
	"context"
	"strings"

	"github.com/rclone/gofakes3"

	"biplane.dev/biplane/internal/data/objects"
)

// afterAll sorts after every character that a key can hold.
const afterAll = "\U0010FFFF"

// ListBucket lists in the order of keys, common prefixes among them, as S3 does.
func (b *backend) ListBucket(ctx context.Context, _ string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	if prefix.Delimiter != "" && prefix.Delimiter != "/" {
		return nil, gofakes3.ErrorMessage(gofakes3.ErrNotImplemented, "keys are listed with the delimiter / or without one")
	}
	limit := int(page.MaxKeys)
	if limit < 1 || limit > objects.MaxList {
		limit = objects.MaxList
	}
	listing := listing{backend: b, prefix: prefix.Prefix, delimited: prefix.Delimiter != "", after: page.Marker, limit: limit, list: gofakes3.NewObjectList()}
	if strings.HasSuffix(page.Marker, "/") {
		listing.after += afterAll // the marker was a common prefix: all of it has been told
	}
	for _, served := range b.options.Prefixes {
		if more, err := listing.below(ctx, served); err != nil || !more {
			return listing.list, err
		}
	}
	return listing.list, nil
}

type listing struct {
	backend   *backend
	prefix    string
	delimited bool
	after     string
	limit     int
	list      *gofakes3.ObjectList
	last      string // key or common prefix that was added last
}

// below lists what the request wants of the served prefix. Without more, the page is full.
func (l *listing) below(ctx context.Context, served objects.Key) (more bool, err error) {
	folder := served
	// The deepest folder that holds all that is wanted.
	if i := strings.LastIndexByte(l.prefix, '/'); i >= 0 && strings.HasPrefix(l.prefix, string(served)+"/") {
		if folder, err = objects.ParseKey(l.prefix[:i]); err != nil {
			return true, nil // no key can be below it
		}
	} else if !strings.HasPrefix(string(served)+"/", l.prefix) {
		return true, nil
	}
	for {
		infos, err := l.backend.bucket.List(ctx, folder, objects.Key(l.after), objects.MaxList)
		if err != nil {
			return false, l.backend.problem(ctx, string(folder), err)
		}
		jumped := false
		for _, info := range infos {
			key := string(info.Key)
			l.after = key
			rest, match := strings.CutPrefix(key, l.prefix)
			if !match {
				if key > l.prefix {
					return true, nil // in order, so no other will match
				}
				continue
			}
			if len(l.list.Contents)+len(l.list.CommonPrefixes) == l.limit {
				l.list.IsTruncated, l.list.NextMarker = true, l.last
				return false, nil
			}
			if i := strings.IndexByte(rest, '/'); l.delimited && i >= 0 {
				l.last = l.prefix + rest[:i+1]
				l.list.AddPrefix(l.last)
				l.after, jumped = l.last+afterAll, true
				break
			}
			l.last = key
			l.list.Add(&gofakes3.Content{Key: key, Size: info.Size, LastModified: gofakes3.NewContentTime(info.Modified), ETag: l.etag(info)})
		}
		if !jumped && len(infos) < objects.MaxList {
			return true, nil
		}
	}
}

// etag is empty where the MD5 is not at hand: listing must not read objects.
func (l *listing) etag(info objects.Info) string {
	if !info.HasMD5() {
		return ""
	}
	return etag(info.MD5)
}
