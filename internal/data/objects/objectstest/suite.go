package objectstest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/fault"
)

// Run holds a bucket against the promises of the interface. open gives a new, empty one and cleans it up with the test.
func Run(t *testing.T, open func(t *testing.T) objects.Bucket) {
	tests := []struct {
		name string
		test func(*testing.T, objects.Bucket)
	}{
		{"put and get", putAndGet},
		{"ranges", ranges},
		{"promises", promises},
		{"absent", absent},
		{"failing writer", failingWriter},
		{"missing", missing},
		{"delete", deletes},
		{"key below an object", nested},
		{"addresses", addresses},
		{"names of users", userNames},
		{"list order", listOrder},
		{"list pages", listPages},
		{"list while writing", listWhileWriting},
		{"no half object", noHalfObject},
		{"open reader survives", openReader},
		{"writers of one key", writersOfOneKey},
		{"deleters and writers", deletersAndWriters},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.test(t, open(t))
		})
	}
}

// Key is ParseKey for keys that are right.
func Key(t testing.TB, path string) objects.Key {
	t.Helper()
	key, err := objects.ParseKey(path)
	if err != nil {
		t.Fatalf("ParseKey(%q): %v", path, err)
	}
	return key
}

// Put stores content or fails the test.
func Put(t testing.TB, bucket objects.Bucket, path, content string) objects.Info {
	t.Helper()
	info, err := bucket.Put(t.Context(), Key(t, path), strings.NewReader(content), objects.PutOptions{Size: int64(len(content))})
	if err != nil {
		t.Fatalf("Put %s: %v", path, err)
	}
	return info
}

// Get reads a whole object or fails the test.
func Get(t testing.TB, bucket objects.Bucket, path string) string {
	t.Helper()
	reader, info, err := bucket.Get(t.Context(), Key(t, path), 0, -1)
	if err != nil {
		t.Fatalf("Get %s: %v", path, err)
	}
	defer reader.Close()
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	if int64(len(content)) != info.Size {
		t.Fatalf("read %d bytes of %s, whose size is %d", len(content), path, info.Size)
	}
	return string(content)
}

// WantKind fails the test unless err is a fault of this kind.
func WantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.Kind != kind {
		t.Fatalf("got error %v (kind %d), want a fault of kind %d", err, fault.KindOf(err), kind)
	}
}

func putAndGet(t *testing.T, bucket objects.Bucket) {
	const content = "the first"
	put := Put(t, bucket, "p/d/run/a0/1/outputs.pb", content)
	if put.Size != int64(len(content)) || put.MD5 != md5.Sum([]byte(content)) || put.Modified.IsZero() {
		t.Fatalf("Put says %+v", put)
	}
	if got := Get(t, bucket, "p/d/run/a0/1/outputs.pb"); got != content {
		t.Fatalf("got %q", got)
	}
	stat, err := bucket.Stat(t.Context(), put.Key)
	if err != nil || stat != put {
		t.Fatalf("Stat says %+v, %v; Put said %+v", stat, err, put)
	}
	Put(t, bucket, "p/d/run/a0/1/outputs.pb", "the second, longer one")
	if got := Get(t, bucket, "p/d/run/a0/1/outputs.pb"); got != "the second, longer one" {
		t.Fatalf("got %q after replacing", got)
	}
	Put(t, bucket, "p/empty", "")
	if got := Get(t, bucket, "p/empty"); got != "" {
		t.Fatalf("an empty object holds %q", got)
	}
}

func ranges(t *testing.T, bucket objects.Bucket) {
	key := Put(t, bucket, "r", "0123456789").Key
	for _, tc := range []struct {
		offset, length int64
		want           string
	}{{0, -1, "0123456789"}, {0, 0, ""}, {0, 3, "012"}, {4, 2, "45"}, {7, -1, "789"}, {7, 100, "789"}, {10, -1, ""}} {
		reader, info, err := bucket.Get(t.Context(), key, tc.offset, tc.length)
		if err != nil {
			t.Fatalf("Get from %d, %d bytes: %v", tc.offset, tc.length, err)
		}
		got, err := io.ReadAll(reader)
		if err := errors.Join(err, reader.Close()); err != nil || string(got) != tc.want || info.Size != 10 {
			t.Fatalf("from %d, %d bytes: got %q of %d bytes, %v; want %q", tc.offset, tc.length, got, info.Size, err, tc.want)
		}
	}
	for _, offset := range []int64{-1, 11, 1 << 40} {
		_, _, err := bucket.Get(t.Context(), key, offset, -1)
		WantKind(t, err, fault.KindInvalid)
	}
}

func promises(t *testing.T, bucket objects.Bucket) {
	wrong := md5.Sum([]byte("something else"))
	for name, options := range map[string]objects.PutOptions{
		"too short":     {Size: 11},
		"too long":      {Size: 9},
		"nothing to be": {Size: 0},
		"MD5":           {Size: 10, MD5: &wrong},
		"MD5 alone":     {Size: -1, MD5: &wrong},
	} {
		_, err := bucket.Put(t.Context(), "promise", strings.NewReader("0123456789"), options)
		WantKind(t, err, fault.KindInvalid)
		if _, err := bucket.Stat(t.Context(), "promise"); !fault.Is(err, fault.KindNotFound) {
			t.Fatalf("%s: a broken promise left an object: %v", name, err)
		}
	}
	right := md5.Sum([]byte("0123456789"))
	if _, err := bucket.Put(t.Context(), "promise", strings.NewReader("0123456789"), objects.PutOptions{Size: -1, MD5: &right}); err != nil {
		t.Fatal(err)
	}
	// A broken promise takes nothing away either.
	_, err := bucket.Put(t.Context(), "promise", strings.NewReader("x"), objects.PutOptions{Size: 2})
	WantKind(t, err, fault.KindInvalid)
	if got := Get(t, bucket, "promise"); got != "0123456789" {
		t.Fatalf("the object that was there before holds %q", got)
	}
}

func absent(t *testing.T, bucket objects.Bucket) {
	put := func(content string) error {
		_, err := bucket.Put(t.Context(), "a/b", strings.NewReader(content), objects.PutOptions{Size: -1, Absent: true})
		return err
	}
	if err := put("one"); err != nil {
		t.Fatal(err)
	}
	if err := put("one"); err != nil {
		t.Fatalf("equal content again: %v", err)
	}
	WantKind(t, put("two"), fault.KindExists)
	if got := Get(t, bucket, "a/b"); got != "one" {
		t.Fatalf("holds %q", got)
	}
}

func failingWriter(t *testing.T, bucket objects.Bucket) {
	Put(t, bucket, "kept", "before")
	broken := errors.New("the wire is cut")
	content := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), iotest.ErrReader(broken))
	if _, err := bucket.Put(t.Context(), "kept", content, objects.PutOptions{Size: -1}); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the reader's own error in the chain", err)
	}
	if got := Get(t, bucket, "kept"); got != "before" {
		t.Fatalf("a broken upload left %d bytes", len(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	content = io.MultiReader(strings.NewReader("x"), readFunc(func([]byte) (int, error) { cancel(); return 0, nil }))
	if _, err := bucket.Put(ctx, "kept", content, objects.PutOptions{Size: -1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v after a cancel", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func missing(t *testing.T, bucket objects.Bucket) {
	Put(t, bucket, "here/it/is", "x")
	for _, key := range []objects.Key{"not", "here", "here/it", "here/it/is/not", "here/it/is/not/deeper"} {
		_, err := bucket.Stat(t.Context(), key)
		WantKind(t, err, fault.KindNotFound)
		_, _, err = bucket.Get(t.Context(), key, 0, -1)
		WantKind(t, err, fault.KindNotFound)
	}
}

func deletes(t *testing.T, bucket objects.Bucket) {
	Put(t, bucket, "d/e/f", "x")
	Put(t, bucket, "d/g", "x")
	for _, key := range []objects.Key{"d/e/f", "d/e/f", "d/e", "no/such", "d/g/deeper"} {
		if err := bucket.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete %s: %v", key, err)
		}
	}
	wantKeys(t, bucket, "", "d/g")
	Put(t, bucket, "d/e", "an object where folders were")
}

func nested(t *testing.T, bucket objects.Bucket) {
	Put(t, bucket, "n/object", "x")
	_, err := bucket.Put(t.Context(), "n/object/below", strings.NewReader(""), objects.PutOptions{Size: -1})
	WantKind(t, err, fault.KindExists)
	for _, absent := range []bool{false, true} {
		_, err = bucket.Put(t.Context(), "n", strings.NewReader(""), objects.PutOptions{Size: -1, Absent: absent})
		WantKind(t, err, fault.KindExists)
	}
	wantKeys(t, bucket, "", "n/object")
}

func addresses(t *testing.T, bucket objects.Bucket) {
	for _, path := range []string{"a", "p/d/r/a0/1/outputs.pb", "p/raw/Größe 100% (1).csv"} {
		key := Key(t, path)
		uri := bucket.URI(key)
		for _, uri := range []string{uri, uri + "/"} {
			if got, err := bucket.Key(uri); err != nil || got != key {
				t.Fatalf("Key(%q) = %q, %v; want %q", uri, got, err, key)
			}
		}
	}
	base := strings.TrimSuffix(bucket.URI("x"), "x")
	for _, uri := range []string{
		"", "/", "x", base, base + "/", base + "a//b", base + "a//", base + "../x", base + "a/../../x", base + "a/..", base + "./x", base + "a/%2e%2e/b",
		base + "a\x00b", base + "a\\..\\b", base + "a/\u2024\u2024/b", strings.TrimSuffix(base, "/") + "x/y", "/etc/passwd", "file:///etc/passwd", "file://" + base + "x",
		"local://" + base + "x", "http://127.0.0.1/x", "s3://some-other/x", "memory://x", base + strings.Repeat("a", objects.MaxName+1),
		base + strings.Repeat("abc/", objects.MaxKey/4) + "x",
	} {
		if key, err := bucket.Key(uri); err == nil {
			t.Fatalf("Key(%q) gave %q, want it refused", uri, key)
		} else {
			WantKind(t, err, fault.KindInvalid)
			var f *fault.Fault
			if errors.As(err, &f) && f.Field != "uri" {
				t.Fatalf("Key(%q) blames field %q", uri, f.Field)
			}
		}
	}
}

func userNames(t *testing.T, bucket objects.Bucket) {
	for i, name := range []string{"Größe.csv", "отчёт за май.txt", "データ。csv", "👩‍🚀 flug.png", ".hidden", "-dash", "a…b", "100%.txt", "[x] {y} #1 & 'z' \"q\" ?*:|<>!$`;.txt", strings.Repeat("ü", 127)} {
		path := fmt.Sprintf("u/%d/%s", i, name)
		Put(t, bucket, path, name)
		if got := Get(t, bucket, path); got != name {
			t.Fatalf("%q holds %q", path, got)
		}
		wantKeys(t, bucket, objects.Key(fmt.Sprintf("u/%d", i)), objects.Key(path))
	}
}

func openReader(t *testing.T, bucket objects.Bucket) {
	old := bytes.Repeat([]byte("old."), 1<<18)
	key := Put(t, bucket, "o", string(old)).Key
	reader, _, err := bucket.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var head [8]byte
	if _, err := io.ReadFull(reader, head[:]); err != nil {
		t.Fatal(err)
	}
	Put(t, bucket, "o", "new")
	if err := bucket.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(reader); err != nil || !bytes.Equal(rest, old[8:]) {
		t.Fatalf("read %d bytes more, %v; want the old object", len(rest), err)
	}
}

func noHalfObject(t *testing.T, bucket objects.Bucket) {
	const size = 1 << 20
	key := Key(t, "half/object")
	content := func(round int) string { return strings.Repeat(string(rune('a'+round)), size) }
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				reader, info, err := bucket.Get(t.Context(), key, 0, -1)
				if fault.Is(err, fault.KindNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				got, err := io.ReadAll(reader)
				reader.Close()
				if err != nil || len(got) != size || info.Size != size || strings.Count(string(got), string(got[:1])) != size {
					t.Errorf("read %d of %d bytes, %v: not one whole object", len(got), info.Size, err)
					return
				}
			}
		})
	}
	for round := range 20 {
		// One byte at a time at first, so that a reader has every chance to see the beginning alone.
		slow := io.MultiReader(iotest.OneByteReader(strings.NewReader(content(round)[:512])), strings.NewReader(content(round)[512:]))
		if _, err := bucket.Put(t.Context(), key, slow, objects.PutOptions{Size: size}); err != nil {
			t.Errorf("Put: %v", err)
			break
		}
	}
	close(stop)
	readers.Wait()
}

func writersOfOneKey(t *testing.T, bucket objects.Bucket) {
	var writers sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		writers.Go(func() {
			content := []string{"left", "right"}[i%2]
			_, results[i] = bucket.Put(t.Context(), "w/one", strings.NewReader(content), objects.PutOptions{Size: -1, Absent: true})
		})
	}
	writers.Wait()
	winner := Get(t, bucket, "w/one")
	for i, err := range results {
		if content := []string{"left", "right"}[i%2]; content == winner && err != nil {
			t.Fatalf("a writer of the content that won got %v", err)
		} else if content != winner && !fault.Is(err, fault.KindExists) {
			t.Fatalf("a writer of the content that lost got %v", err)
		}
	}
}

// deletersAndWriters holds the removal of empty folders against writers that need them.
func deletersAndWriters(t *testing.T, bucket objects.Bucket) {
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			key := objects.Key(fmt.Sprintf("x/y/z/%d", i))
			for range 100 {
				if _, err := bucket.Put(t.Context(), key, strings.NewReader("x"), objects.PutOptions{Size: 1}); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if err := bucket.Delete(t.Context(), key); err != nil {
					t.Errorf("Delete: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	wantKeys(t, bucket, "")
}
