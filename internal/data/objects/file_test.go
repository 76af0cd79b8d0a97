package objects_test

import (
	"crypto/md5"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
	"biplane.dev/biplane/internal/fault"
)

func open(t testing.TB, dir string, options objects.FileOptions) *objects.File {
	t.Helper()
	bucket, err := objects.OpenFile(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bucket.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return bucket
}

func TestFile(t *testing.T) {
	t.Parallel()
	objectstest.Run(t, func(t *testing.T) objects.Bucket { return open(t, t.TempDir(), objects.FileOptions{}) })
}

func TestFileSynced(t *testing.T) {
	t.Parallel()
	bucket := open(t, t.TempDir(), objects.FileOptions{Sync: true})
	objectstest.Put(t, bucket, "a/b/c", "x")
	if got := objectstest.Get(t, bucket, "a/b/c"); got != "x" {
		t.Fatalf("got %q", got)
	}
}

// Objects outlive the bucket's process, and what was half-written does not.
func TestFileReopened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var lives []*objects.File
	again := func() *objects.File {
		bucket, err := objects.OpenFile(dir, objects.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lives = append(lives, bucket)
		return bucket
	}
	objectstest.Put(t, again(), "kept", "x")
	half := filepath.Join(dir, "incoming", "HALF")
	if err := os.WriteFile(half, []byte("half an obj"), 0o600); err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := os.Stat(half); err != nil {
		t.Fatalf("a second user of an open bucket removed what the first may be writing: %v", err)
	}
	for _, bucket := range lives {
		if err := bucket.Close(); err != nil {
			t.Fatal(err)
		}
	}
	last := again()
	defer last.Close()
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Fatalf("the half-written object is still there: %v", err)
	}
	if got := objectstest.Get(t, last, "kept"); got != "x" {
		t.Fatalf("got %q", got)
	}
}

// Tasks write files below the bucket by path, and over objects that are there already.
func TestFileWrittenDirectly(t *testing.T) {
	t.Parallel()
	bucket := open(t, t.TempDir(), objects.FileOptions{})
	key := objectstest.Key(t, "run/a0/1/outputs.pb")
	path := bucket.URI(key)
	write := func(content string, changed time.Time) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	want := func(content string) objects.Info {
		t.Helper()
		info, err := bucket.Stat(t.Context(), key)
		if err != nil || info.MD5 != md5.Sum([]byte(content)) || info.Size != int64(len(content)) {
			t.Fatalf("Stat says %+v, %v; want that of %q", info, err, content)
		}
		if got := objectstest.Get(t, bucket, string(key)); got != content {
			t.Fatalf("got %q, want %q", got, content)
		}
		return info
	}
	settled := time.Now().Add(-time.Hour)
	write("by the task", settled)
	want("by the task")
	reader, info, err := bucket.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if !info.HasMD5() {
		t.Fatal("the MD5 that Stat found was not kept")
	}
	write("of one size", settled.Add(time.Second))
	want("of one size")
	// A change within the clock's grain of the last one must be seen, too.
	now := time.Now()
	write("first now..", now)
	want("first now..")
	write("second now.", now)
	want("second now.")
	objectstest.Put(t, bucket, string(key), "by the plane")
	want("by the plane")
	write("by the task again", settled)
	want("by the task again")
}

// A task can put links and pipes into the bucket. None may lead the plane to a file outside, and none may block it.
func TestFileLinksAndPipes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("the plane's key"), 0o600); err != nil {
		t.Fatal(err)
	}
	bucket := open(t, filepath.Join(dir, "bucket"), objects.FileOptions{})
	objectstest.Put(t, bucket, "run/real", "x")
	folder := filepath.Dir(bucket.URI("run/real"))
	for name, target := range map[string]string{"file": secret, "folder": dir, "relative": "../../../secret", "parent": "../../.."} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []objects.Key{"run/file", "run/folder/secret", "run/relative", "run/parent/secret"} {
		if _, err := bucket.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat followed %q out of the bucket", key)
		}
		if _, _, err := bucket.Get(t.Context(), key, 0, -1); err == nil {
			t.Errorf("Get followed %q out of the bucket", key)
		}
	}
	for _, key := range []objects.Key{"run/folder/secret", "run/parent/secret", "run/folder/new"} {
		if _, err := bucket.Put(t.Context(), key, strings.NewReader("overwritten"), objects.PutOptions{Size: -1}); err == nil {
			t.Errorf("Put followed %q out of the bucket", key)
		}
		if err := bucket.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete followed %q out of the bucket", key)
		}
	}
	_, err := bucket.Stat(t.Context(), "run/pipe")
	objectstest.WantKind(t, err, fault.KindNotFound)
	for _, prefix := range []objects.Key{"", "run/pipe", "run/folder", "run"} {
		infos, err := bucket.List(t.Context(), prefix, "", 10)
		if prefix == "run/folder" {
			if err == nil {
				t.Errorf("List followed %q: %v", prefix, infos)
			}
			continue
		}
		if err != nil || len(infos) > 1 {
			t.Errorf("List %q: %v, %v", prefix, infos, err)
		}
	}
	// A Put onto a link replaces the link, not what it points to.
	objectstest.Put(t, bucket, "run/file", "an object")
	if content, err := os.ReadFile(secret); err != nil || string(content) != "the plane's key" {
		t.Fatalf("the file outside holds %q, %v", content, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Fatalf("the folder outside holds %v, %v", entries, err)
	}
}

func TestFilePrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bucket")
	bucket := open(t, dir, objects.FileOptions{})
	objectstest.Put(t, bucket, "a/b", "x")
	for _, path := range []string{bucket.URI("a/b"), bucket.URI("a"), filepath.Join(dir, "objects"), filepath.Join(dir, "incoming")} {
		stat, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if stat.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others can read it", path, stat.Mode())
		}
	}
}

// The folder may be given through a link; both spellings are addresses of the same objects.
func TestFileThroughLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	bucket := open(t, filepath.Join(dir, "link"), objects.FileOptions{})
	objectstest.Put(t, bucket, "a", "x")
	for _, spelling := range []string{"real", "link"} {
		key, err := bucket.Key(filepath.Join(dir, spelling, "objects", "a"))
		if err != nil || key != "a" {
			t.Fatalf("through %s: %q, %v", spelling, key, err)
		}
	}
}

func TestFileUnusable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.OpenFile(file, objects.FileOptions{}); err == nil {
		t.Fatal("a file was opened as a bucket")
	}
}
