package s3endpoint

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rclone/gofakes3"
)

// upload is an object that comes in parts. Its parts are files in a folder of its own until it is complete.
type upload struct {
	id     gofakes3.UploadID
	name   string
	folder string

	mu    sync.Mutex // protects what follows, and is held while the object is put together
	over  bool
	parts map[int]part
	size  int64
	moved time.Time // when a part was stored last
}

type part struct {
	path string
	size int64
	etag string
}

// CreateMultipartUpload also drops uploads that were left behind: their clients are gone without a word.
func (b *backend) CreateMultipartUpload(ctx context.Context, bucket, name string, _ map[string]string) (gofakes3.UploadID, error) {
	if _, err := b.key(name); err != nil {
		return "", b.problem(ctx, name, err)
	}
	b.dropStale(ctx, bucket)
	u := &upload{id: gofakes3.UploadID(rand.Text()), name: name, parts: map[int]part{}, moved: time.Now()}
	u.folder = filepath.Join(b.options.Staging, string(u.id))
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.uploads) >= b.options.MaxUploads {
		return "", gofakes3.ErrorMessagef(gofakes3.ErrSlowDown, "%d uploads in parts are under way already; try again later", b.options.MaxUploads)
	}
	if err := os.Mkdir(u.folder, 0o700); err != nil {
		return "", b.problem(ctx, name, err)
	}
	b.uploads[u.id] = u
	return u.id, nil
}

func (b *backend) dropStale(ctx context.Context, bucket string) {
	b.mu.Lock()
	all := make([]*upload, 0, len(b.uploads))
	for _, u := range b.uploads {
		all = append(all, u)
	}
	b.mu.Unlock()
	for _, u := range all {
		if !u.mu.TryLock() {
			continue // somebody is at work on it
		}
		stale := time.Since(u.moved) > b.options.Total
		u.mu.Unlock()
		if !stale {
			continue
		}
		if err := b.AbortMultipartUpload(ctx, bucket, u.name, u.id); err == nil {
			_ = b.forget(ctx, bucket, u.name, u.id) // its client may have ended it at this moment
		}
	}
}

func (b *backend) find(id gofakes3.UploadID, name string) (*upload, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.uploads[id]
	if u == nil || u.name != name {
		return nil, gofakes3.ErrNoSuchUpload
	}
	return u, nil
}

// UploadPart stores a part in a file of its own; a part that comes again replaces the first.
func (b *backend) UploadPart(ctx context.Context, _, name string, id gofakes3.UploadID, number int, size int64, body io.Reader) (string, error) {
	u, err := b.find(id, name)
	if err != nil {
		return "", err
	}
	if size < 0 || size > b.options.MaxObject {
		return "", gofakes3.ErrEntityTooLarge
	}
	file, err := os.CreateTemp(u.folder, "part-*")
	if err != nil {
		return "", b.problem(ctx, name, err)
	}
	digest := md5.New()
	n, err := io.Copy(io.MultiWriter(file, digest), io.LimitReader(body, size))
	err = errors.Join(err, file.Close())
	if err == nil && n != size {
		err = gofakes3.ErrIncompleteBody
	}
	stored := part{path: file.Name(), size: size, etag: etag([16]byte(digest.Sum(nil)))}
	if err == nil {
		err = u.add(number, stored, b.options.MaxObject)
	}
	if err != nil {
		_ = os.Remove(file.Name()) // what stays goes with the upload
		return "", b.problem(ctx, name, err)
	}
	return stored.etag, nil
}

func (u *upload) add(number int, stored part, limit int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return gofakes3.ErrNoSuchUpload
	}
	old := u.parts[number]
	if u.size-old.size+stored.size > limit {
		return gofakes3.ErrEntityTooLarge
	}
	u.size += stored.size - old.size
	u.parts[number] = stored
	u.moved = time.Now()
	if old.path != "" {
		return os.Remove(old.path)
	}
	return nil
}

// CompleteMultipartUpload stores the parts as one object. When that fails the upload stays, so that the client can try again.
func (b *backend) CompleteMultipartUpload(ctx context.Context, _, name string, id gofakes3.UploadID, input *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	u, err := b.find(id, name)
	if err != nil {
		return "", "", err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return "", "", gofakes3.ErrNoSuchUpload
	}
	if len(input.Parts) == 0 {
		return "", "", gofakes3.ErrorMessage(gofakes3.ErrMalformedXML, "an object needs at least one part")
	}
	var size int64
	content := &joined{}
	defer content.Close()
	for i, asked := range input.Parts {
		if i > 0 && asked.PartNumber <= input.Parts[i-1].PartNumber {
			return "", "", gofakes3.ErrInvalidPartOrder
		}
		stored, ok := u.parts[asked.PartNumber]
		if !ok || trimQuotes(asked.ETag) != trimQuotes(stored.etag) {
			return "", "", gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "part %d was not uploaded, or is another one", asked.PartNumber)
		}
		size += stored.size
		content.paths = append(content.paths, stored.path)
	}
	info, err := b.put(ctx, name, content, size)
	if err != nil {
		return "", "", err
	}
	b.end(u)
	return "", etag(info.MD5), nil
}

// AbortMultipartUpload removes the parts.
func (b *backend) AbortMultipartUpload(_ context.Context, _, name string, id gofakes3.UploadID) error {
	u, err := b.find(id, name)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	b.end(u)
	return nil
}

// end forgets an upload; the caller holds its lock. What cannot be removed now goes when the endpoint is made next.
func (b *backend) end(u *upload) {
	u.over = true
	b.mu.Lock()
	delete(b.uploads, u.id)
	b.mu.Unlock()
	if err := os.RemoveAll(u.folder); err != nil {
		b.options.Log.Error("parts of an upload stay on disk", "error", err)
	}
}

func trimQuotes(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

// joined reads files one after the other, with one open at a time.
type joined struct {
	paths []string
	open  *os.File
}

func (j *joined) Read(buffer []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.paths) == 0 {
				return 0, io.EOF
			}
			file, err := os.Open(j.paths[0])
			if err != nil {
				return 0, fmt.Errorf("a part of the upload: %w", err)
			}
			j.open, j.paths = file, j.paths[1:]
		}
		n, err := j.open.Read(buffer)
		if err != io.EOF {
			return n, err
		}
		if err := j.Close(); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (j *joined) Close() error {
	if j.open == nil {
		return nil
	}
	err := j.open.Close()
	j.open = nil
	return err
}
