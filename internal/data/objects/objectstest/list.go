package objectstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"biplane.dev/biplane/internal/data/objects"
)

func wantKeys(t *testing.T, bucket objects.Bucket, prefix objects.Key, want ...objects.Key) {
	t.Helper()
	if got := listAll(t, bucket, prefix, objects.MaxList); !slices.Equal(got, want) {
		t.Fatalf("below %q: %q, want %q", prefix, got, want)
	}
}

// listAll lists in pages of the given size.
func listAll(t *testing.T, bucket objects.Bucket, prefix objects.Key, page int) []objects.Key {
	t.Helper()
	var keys []objects.Key
	var after objects.Key
	for {
		infos, err := bucket.List(t.Context(), prefix, after, page)
		if err != nil {
			t.Fatalf("List %q after %q: %v", prefix, after, err)
		}
		if len(infos) > page {
			t.Fatalf("List gave %d objects, the limit was %d", len(infos), page)
		}
		for _, info := range infos {
			keys = append(keys, info.Key)
		}
		if len(infos) < page {
			return keys
		}
		after = infos[len(infos)-1].Key
	}
}

func listOrder(t *testing.T, bucket objects.Bucket) {
	// The order is that of whole keys, which is not that of folders: "a-b/x" and "a.txt" come before "a/x".
	keys := []objects.Key{"a!", "a-b/x", "a.txt", "a/b/c", "a/b/d", "a/b0", "a0", "b", "ü/x"}
	for _, key := range slices.Backward(keys) {
		Put(t, bucket, string(key), "content")
	}
	if !slices.IsSorted(keys) {
		t.Fatal("the test's own keys are out of order")
	}
	wantKeys(t, bucket, "", keys...)
	wantKeys(t, bucket, "a", "a/b/c", "a/b/d", "a/b0")
	wantKeys(t, bucket, "a/b", "a/b/c", "a/b/d")
	wantKeys(t, bucket, "a/b/c")
	wantKeys(t, bucket, "no/such")
	for page := 1; page <= len(keys)+1; page++ {
		if got := listAll(t, bucket, "", page); !slices.Equal(got, keys) {
			t.Fatalf("in pages of %d: %q, want %q", page, got, keys)
		}
	}
	for _, after := range []objects.Key{"", "a", "a-", "a-b", "a-b/x", "a-z", "a/b", "a/b/", "a/b/c", "a/b/zzz", "a/c", "z", "\U0010FFFF"} {
		want := keys[position(keys, after):]
		infos, err := bucket.List(t.Context(), "", after, objects.MaxList)
		if err != nil {
			t.Fatal(err)
		}
		var got []objects.Key
		for _, info := range infos {
			got = append(got, info.Key)
			if info.Size != int64(len("content")) || info.Modified.IsZero() {
				t.Fatalf("List says %+v", info)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("after %q: %q, want %q", after, got, want)
		}
	}
}

// position is the number of keys that are not after the given one.
func position(keys []objects.Key, after objects.Key) int {
	n, found := slices.BinarySearch(keys, after)
	if found {
		n++
	}
	return n
}

func listPages(t *testing.T, bucket objects.Bucket) {
	var want []objects.Key
	for i := range 3 {
		for j := range 40 {
			want = append(want, Put(t, bucket, fmt.Sprintf("run-%d/a%02d/1/outputs.pb", i, j), "").Key)
		}
	}
	for _, page := range []int{1, 7, 40, 119, 120, 121} {
		if got := listAll(t, bucket, "", page); !slices.Equal(got, want) {
			t.Fatalf("pages of %d give %d keys, want %d", page, len(got), len(want))
		}
	}
	for _, limit := range []int{0, -1, objects.MaxList + 1} {
		if infos, err := bucket.List(t.Context(), "", "", limit); err != nil || len(infos) != len(want) {
			t.Fatalf("limit %d gives %d objects, %v", limit, len(infos), err)
		}
	}
}

// listWhileWriting: what is there all the time is listed exactly once, whatever comes and goes around it.
func listWhileWriting(t *testing.T, bucket objects.Bucket) {
	var want []objects.Key
	for i := range 20 {
		want = append(want, Put(t, bucket, fmt.Sprintf("l/%02d/stays", i), "").Key)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := objects.Key(fmt.Sprintf("l/%02d/goes/%d", i%20, i))
			if _, err := bucket.Put(t.Context(), key, strings.NewReader(""), objects.PutOptions{Size: 0}); err != nil {
				t.Errorf("Put: %v", err)
				return
			}
			if err := bucket.Delete(t.Context(), key); err != nil {
				t.Errorf("Delete: %v", err)
				return
			}
		}
	})
	for range 20 {
		got := listAll(t, bucket, "l", 3)
		got = slices.DeleteFunc(got, func(key objects.Key) bool { return key.Name() != "stays" })
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
			break
		}
	}
	close(stop)
	writer.Wait()
}
