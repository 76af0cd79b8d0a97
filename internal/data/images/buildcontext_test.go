package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"

	"biplane.dev/biplane/internal/fault"
)

func archive(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	writer := tar.NewWriter(zipped)
	for _, entry := range entries {
		if err := writer.WriteHeader(&entry); err != nil {
			t.Fatal(err)
		}
		if entry.Typeflag == tar.TypeReg {
			if _, err := writer.Write(bytes.Repeat([]byte("x"), int(entry.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	whole := archive(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 9999, Mode: 0o644})
	for name, content := range map[string][]byte{
		"parent":     archive(t, tar.Header{Name: "../evil", Typeflag: tar.TypeReg}),
		"hidden":     archive(t, tar.Header{Name: "a/../../evil", Typeflag: tar.TypeReg}),
		"absolute":   archive(t, tar.Header{Name: "/evil", Typeflag: tar.TypeReg}),
		"link":       archive(t, tar.Header{Name: "link", Linkname: "/etc", Typeflag: tar.TypeSymlink}),
		"hard link":  archive(t, tar.Header{Name: "link", Linkname: "../../evil", Typeflag: tar.TypeLink}),
		"pipe":       archive(t, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}),
		"not gzip":   []byte("hello"),
		"empty":      nil,
		"cut":        whole[:len(whole)/2],
		"not a tar":  gzipped(t, bytes.Repeat([]byte("hello"), 200)),
		"bad digest": append(bytes.Clone(whole[:len(whole)-8]), 1, 2, 3, 4, 5, 6, 7, 8),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "context.tar.gz")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			err := unpack(filepath.Join(dir, "in", "context"), path)
			if !fault.Is(err, fault.KindInvalid) {
				t.Errorf("got %v, want KindInvalid", err)
			}
			for _, outside := range []string{filepath.Join(dir, "evil"), filepath.Join(dir, "in", "evil"), "/evil"} {
				if _, err := os.Lstat(outside); err == nil {
					t.Errorf("%s was written", outside)
				}
			}
		})
	}
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	if _, err := writer.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A header may promise a file of any size: the promise alone is too much.
func TestUnpackBomb(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	if err := tar.NewWriter(zipped).WriteHeader(&tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Size: unpackedLimit + 1}); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "context.tar.gz")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unpack(filepath.Join(dir, "context"), path); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("got %v, want KindInvalid", err)
	}
}

func TestDigestTree(t *testing.T) {
	t.Parallel()
	tree := func(files map[string]string, mode os.FileMode) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := digestTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	one := tree(map[string]string{"a": "1", "b/c": "2"}, 0o644)
	if other := tree(map[string]string{"a": "1", "b/c": "2"}, 0o600); other != one {
		t.Error("the same files in another folder have another digest")
	}
	for what, other := range map[string]string{
		"content":    tree(map[string]string{"a": "1", "b/c": "3"}, 0o644),
		"name":       tree(map[string]string{"a": "1", "b/d": "2"}, 0o644),
		"executable": tree(map[string]string{"a": "1", "b/c": "2"}, 0o755),
		"missing":    tree(map[string]string{"a": "1"}, 0o644),
	} {
		if other == one {
			t.Errorf("%s: the digest does not see the difference", what)
		}
	}
}
