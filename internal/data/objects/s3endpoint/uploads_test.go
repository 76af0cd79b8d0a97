package s3endpoint_test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
	"biplane.dev/biplane/internal/data/objects/s3endpoint"
)

// begin starts an upload in parts and gives the target of its requests.
func (p plane) begin(t *testing.T, key string) string {
	t.Helper()
	var started struct {
		UploadID string `xml:"UploadId"`
	}
	got := p.want(t, http.StatusOK, "UploadId", http.MethodPost, path(key)+"?uploads=", "")
	if err := xml.Unmarshal([]byte(got.text), &started); err != nil || started.UploadID == "" {
		t.Fatalf("%q: %v", got.text, err)
	}
	return path(key) + "?uploadId=" + started.UploadID
}

func (p plane) part(t *testing.T, upload string, number int, content string) string {
	t.Helper()
	return p.want(t, http.StatusOK, "", http.MethodPut, fmt.Sprintf("%s&partNumber=%d", upload, number), content).Header.Get("ETag")
}

// completion is the body that ends an upload.
func completion(parts ...any) string {
	var body strings.Builder
	body.WriteString("<CompleteMultipartUpload>")
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&body, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", parts[i], parts[i+1])
	}
	return body.String() + "</CompleteMultipartUpload>"
}

func (p plane) staged(t *testing.T, want int) {
	t.Helper()
	if entries, err := os.ReadDir(p.staging); err != nil || len(entries) != want {
		t.Fatalf("uploads on disk: %v, %v; want %d", entries, err, want)
	}
}

func TestUpload(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	upload := p.begin(t, "raw/big ü")
	// Parts come in any order, and again.
	third := p.part(t, upload, 3, "third")
	p.part(t, upload, 1, "wrong")
	first := p.part(t, upload, 1, "first ")
	second := p.part(t, upload, 2, "second ")
	p.part(t, upload, 4, "left out")
	p.empty(t)
	p.want(t, http.StatusBadRequest, "InvalidPart", http.MethodPost, upload, completion(1, third))
	p.want(t, http.StatusBadRequest, "InvalidPart", http.MethodPost, upload, completion(1, first, 9, second))
	p.want(t, http.StatusBadRequest, "InvalidPartOrder", http.MethodPost, upload, completion(2, second, 1, first))
	p.want(t, http.StatusBadRequest, "MalformedXML", http.MethodPost, upload, completion())
	p.want(t, http.StatusBadRequest, "MalformedXML", http.MethodPost, upload, "no XML")
	p.empty(t)
	done := completion(1, first, 2, second, 3, third)
	got := p.want(t, http.StatusOK, "ETag", http.MethodPost, upload, done)
	if content := objectstest.Get(t, p.bucket, "raw/big ü"); content != "first second third" {
		t.Fatalf("holds %q", content)
	}
	if head := p.want(t, http.StatusOK, "", http.MethodHead, path("raw/big ü"), ""); !strings.Contains(got.text, strings.Trim(head.Header.Get("ETag"), `"`)) {
		t.Fatalf("%s after %s", head.Header.Get("ETag"), got.text)
	}
	p.staged(t, 0)
	// A client that missed the answer asks again.
	p.want(t, http.StatusOK, "ETag", http.MethodPost, upload, done)
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodPut, upload+"&partNumber=1", "late")
}

func TestUploadAborted(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	upload := p.begin(t, "raw/x")
	etag := p.part(t, upload, 1, "content")
	p.want(t, http.StatusNoContent, "", http.MethodDelete, upload, "")
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodPost, upload, completion(1, etag))
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodDelete, upload, "")
	p.staged(t, 0)
	p.empty(t)
}

// An upload is good for its own key only.
func TestUploadOfAnotherKey(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	upload := p.begin(t, "raw/mine")
	etag := p.part(t, upload, 1, "content")
	other := strings.Replace(upload, "mine", "other", 1)
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodPut, other+"&partNumber=1", "x")
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodPost, other, completion(1, etag))
	p.want(t, http.StatusBadRequest, "is not below", http.MethodPost, path("code/x")+"?uploads=", "")
	p.empty(t)
}

func TestUploadRefused(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	upload := p.begin(t, "raw/x")
	r := p.request(t, http.MethodPut, upload+"&partNumber=1", "content")
	r.Body = http.NoBody
	r.Body = readCloser{strings.NewReader("CONTENT")}
	do(t, r).want(t, http.StatusBadRequest, "BadDigest")
	for _, number := range []string{"0", "-1", "10001", "x", ""} {
		p.want(t, http.StatusBadRequest, "InvalidPart", http.MethodPut, upload+"&partNumber="+number, "x")
	}
	// All parts together are one object, and have its limit.
	p.part(t, upload, 1, zeros(1<<19))
	p.part(t, upload, 2, zeros(1<<19))
	p.want(t, http.StatusBadRequest, "EntityTooLarge", http.MethodPut, upload+"&partNumber=3", "x")
	p.part(t, upload, 2, zeros(1<<18))
	p.part(t, upload, 3, "x")
	if files, err := os.ReadDir(p.staging + "/" + strings.SplitN(upload, "uploadId=", 2)[1]); err != nil || len(files) != 3 {
		t.Fatalf("refused and replaced parts stay on disk: %v, %v", files, err)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestUploadsAtATime(t *testing.T) {
	t.Parallel()
	p := start(t, func(o *s3endpoint.Options) { o.MaxUploads = 2 })
	first := p.begin(t, "raw/1")
	p.begin(t, "raw/2")
	p.want(t, http.StatusServiceUnavailable, "SlowDown", http.MethodPost, path("raw/3")+"?uploads=", "")
	p.want(t, http.StatusNoContent, "", http.MethodDelete, first, "")
	p.begin(t, "raw/3")
	p.staged(t, 2)
}

// Uploads whose client is gone make room when the next one comes, or when the plane starts again.
func TestUploadsLeftBehind(t *testing.T) {
	t.Parallel()
	p := start(t, func(o *s3endpoint.Options) { o.MaxUploads, o.Total = 1, time.Millisecond })
	left := p.begin(t, "raw/left")
	deadline := time.Now().Add(10 * time.Second)
	for do(t, p.request(t, http.MethodPost, path("raw/next")+"?uploads=", "")).StatusCode != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("an upload that was left behind keeps its place")
		}
	}
	p.want(t, http.StatusNotFound, "NoSuchUpload", http.MethodDelete, left, "")
	p.staged(t, 1)
	if _, err := s3endpoint.New(p.bucket, s3endpoint.Options{Name: name, Prefixes: []objects.Key{"raw"}, Credentials: credentials, Staging: p.staging}); err != nil {
		t.Fatal(err)
	}
	p.staged(t, 0)
}

// Clients that end one upload at once get the same answer, and one object.
func TestUploadEndedTwice(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	upload := p.begin(t, "raw/x")
	etag := p.part(t, upload, 1, zeros(1<<19))
	answers := make([]answer, 4)
	var clients sync.WaitGroup
	for i := range answers {
		clients.Go(func() { answers[i] = do(t, p.request(t, http.MethodPost, upload, completion(1, etag))) })
	}
	clients.Wait()
	succeeded := 0
	for _, a := range answers {
		switch {
		case a.StatusCode == http.StatusOK:
			succeeded++
		case a.StatusCode != http.StatusNotFound:
			t.Errorf("%d %q", a.StatusCode, a.text)
		}
	}
	if succeeded == 0 {
		t.Error("nobody succeeded")
	}
	if got := objectstest.Get(t, p.bucket, "raw/x"); len(got) != 1<<19 {
		t.Fatalf("holds %d bytes", len(got))
	}
	p.staged(t, 0)
}
