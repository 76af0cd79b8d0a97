package launch

import (
	"os"
	"path/filepath"
	"testing"
)

// A link that a task put into the bucket is not followed out of it, although a plain path outside may be read.
func TestReadFollowsNoLinkOutOfTheBucket(t *testing.T) {
	t.Parallel()
	_, bucket := testLauncher(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the plane's key"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, bucket, "run/real", []byte("x"))
	link := filepath.Join(filepath.Dir(bucket.URI("run/real")), "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	if raw, err := Read(t.Context(), bucket, link, -1); err == nil {
		t.Fatalf("read %q through a link", raw)
	}
	if raw, err := Read(t.Context(), bucket, secret, -1); err != nil || string(raw) != "the plane's key" {
		t.Fatal(string(raw), err)
	}
}
