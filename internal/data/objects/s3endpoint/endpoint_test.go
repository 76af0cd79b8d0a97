package s3endpoint_test

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
	"biplane.dev/biplane/internal/data/objects/s3endpoint"
	"biplane.dev/biplane/internal/fault"
)

func TestObjects(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	for _, key := range []string{"raw/p/d/run/a0/1/0f/Größe 100% (1).csv", "raw/データ。csv", "raw/a&b=c+d;e'f!$,@:[x]{y}~\"<>*|^`.txt"} {
		const content = "0123456789"
		want := fmt.Sprintf(`"%x"`, md5.Sum([]byte(content)))
		if got := p.want(t, http.StatusOK, "", http.MethodPut, path(key), content); got.Header.Get("ETag") != want {
			t.Fatalf("PUT gives ETag %s, want %s", got.Header.Get("ETag"), want)
		}
		if got := objectstest.Get(t, p.bucket, key); got != content {
			t.Fatalf("the bucket holds %q at %s", got, key)
		}
		got := p.want(t, http.StatusOK, "", http.MethodHead, path(key), "")
		if got.ContentLength != 10 || got.Header.Get("ETag") != want {
			t.Fatalf("HEAD gives %d bytes, %v", got.ContentLength, got.Header)
		}
		if got := p.want(t, http.StatusOK, "", http.MethodGet, path(key), ""); got.text != content || got.Header.Get("ETag") != want {
			t.Fatalf("GET gives %q, %v", got.text, got.Header)
		}
		for ranges, want := range map[string]string{"bytes=0-3": "0123", "bytes=4-": "456789", "bytes=-2": "89", "bytes=8-100": "89"} {
			if got := p.want(t, http.StatusPartialContent, "", http.MethodGet, path(key), "", "Range", ranges); got.text != want {
				t.Fatalf("range %s gives %q", ranges, got.text)
			}
		}
		p.want(t, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", http.MethodGet, path(key), "", "Range", "bytes=10-")
		p.want(t, http.StatusOK, want[1:5], http.MethodPut, path("raw/copy"), "", "X-Amz-Copy-Source", path(key))
		if got := objectstest.Get(t, p.bucket, "raw/copy"); got != content {
			t.Fatalf("the copy holds %q", got)
		}
		p.want(t, http.StatusNoContent, "", http.MethodDelete, path(key), "")
		p.want(t, http.StatusNoContent, "", http.MethodDelete, path(key), "")
		p.want(t, http.StatusNotFound, "NoSuchKey", http.MethodGet, path(key), "")
		p.want(t, http.StatusNotFound, "", http.MethodHead, path(key), "")
	}
	p.want(t, http.StatusOK, "", http.MethodPut, path("raw/empty"), "")
	if got := p.want(t, http.StatusOK, "", http.MethodGet, path("raw/empty"), ""); got.text != "" {
		t.Fatalf("an empty object holds %q", got.text)
	}
	// What a task wrote by path is an object, too.
	objectstest.Put(t, p.bucket, "raw/direct", "by path")
	if got := p.want(t, http.StatusOK, "", http.MethodGet, path("raw/direct"), ""); got.text != "by path" {
		t.Fatalf("got %q", got.text)
	}
	p.want(t, http.StatusOK, "", http.MethodHead, "/"+name, "")
	p.want(t, http.StatusOK, "LocationConstraint", http.MethodGet, "/"+name+"?location=", "")
}

func TestUnsignedRefused(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	objectstest.Put(t, p.bucket, "raw/secret", "secret")
	unsigned, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path("raw/secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	do(t, unsigned).want(t, http.StatusForbidden, "AccessDenied")

	stranger := p.client
	stranger.credentials.AccessKey = "somebodyelse"
	stranger.want(t, http.StatusForbidden, "InvalidAccessKeyId", http.MethodGet, path("raw/secret"), "")
	guesser := p.client
	guesser.credentials.Secret = "a guess"
	guesser.want(t, http.StatusForbidden, "SignatureDoesNotMatch", http.MethodGet, path("raw/secret"), "")
	for _, at := range []time.Time{time.Now().Add(-time.Hour), time.Now().Add(time.Hour)} {
		late := p.client
		late.at = at
		late.want(t, http.StatusForbidden, "RequestTimeTooSkewed", http.MethodGet, path("raw/secret"), "")
	}
	for what, alter := range map[string]func(*http.Request){
		"path":   func(r *http.Request) { r.URL.Path = path("raw/other") },
		"query":  func(r *http.Request) { r.URL.RawQuery = "partNumber=1" },
		"method": func(r *http.Request) { r.Method = http.MethodDelete },
		"date": func(r *http.Request) {
			r.Header.Set("X-Amz-Date", time.Now().Add(time.Minute).UTC().Format("20060102T150405Z"))
		},
		"header": func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", path("raw/secret")) },
		"digest": func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
	} {
		r := p.request(t, http.MethodPut, path("raw/new"), "content")
		alter(r)
		if got := do(t, r); got.StatusCode != http.StatusForbidden {
			t.Errorf("altered %s: %d %q", what, got.StatusCode, got.text)
		}
	}
	if infos, err := p.bucket.List(t.Context(), "", "", 10); err != nil || len(infos) != 1 {
		t.Fatalf("the bucket holds %v, %v", infos, err)
	}
}

// Only what is read and written as data passes. The rest of S3 would be ways around.
func TestRestOfS3Refused(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	objectstest.Put(t, p.bucket, "raw/x", "x")
	for _, request := range [][2]string{
		{http.MethodGet, path("raw/x") + "?acl="}, {http.MethodPut, path("raw/x") + "?acl="}, {http.MethodPut, path("raw/x") + "?tagging="}, {http.MethodGet, path("raw/x") + "?versionId=1"},
		{http.MethodGet, path("raw/x") + "?response-content-type=text/html"}, {http.MethodGet, path("raw/x") + "?attributes="}, {http.MethodGet, path("raw/x") + "?uploadId=1&part-number-marker=9"},
		{http.MethodGet, path("raw/x") + "?X-Amz-Signature=00"}, {http.MethodPut, "/" + name + "?policy="}, {http.MethodPut, "/" + name + "?versioning="}, {http.MethodGet, "/" + name + "?uploads="}, {http.MethodGet, "/" + name + "?versions="},
		{http.MethodPost, "/" + name}, {http.MethodPost, path("raw/x")}, {http.MethodDelete, "/" + name},
	} {
		p.want(t, http.StatusNotImplemented, "NotImplemented", request[0], request[1], "")
	}
	p.want(t, http.StatusMethodNotAllowed, "MethodNotAllowed", http.MethodOptions, path("raw/x"), "")
	p.want(t, http.StatusMethodNotAllowed, "MethodNotAllowed", http.MethodPatch, path("raw/x"), "")
	p.want(t, http.StatusNotImplemented, "signed chunks", http.MethodPut, path("raw/x"), "", "X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	p.want(t, http.StatusConflict, "BucketAlreadyExists", http.MethodPut, "/"+name, "")
	if got := objectstest.Get(t, p.bucket, "raw/x"); got != "x" {
		t.Fatalf("holds %q", got)
	}
}

func TestKeysRefused(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	objectstest.Put(t, p.bucket, "code/secret", "secret")
	unsignable := []string{"raw/../code/secret", "raw/..", "raw/./x", "raw//x", "raw/\xff"}
	for _, key := range append(unsignable,
		"code/secret", "raw", "rawest/x", "raw/x/", "raw/%2e%2e/code/secret", "raw/a\x00b", "raw/a\nb", "raw/a\\b",
		"raw/\u2024\u2024/code/secret", "raw/\uff0e\uff0e/x", "raw/a\u2215b", "raw/"+strings.Repeat("a", 256), "raw/"+strings.Repeat("abc/", 300)+"x",
	) {
		for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete, http.MethodHead} {
			got := do(t, p.request(t, method, path(key), ""))
			if got.StatusCode != http.StatusBadRequest || method != http.MethodHead && !strings.Contains(got.text, "InvalidArgument") && !strings.Contains(got.text, "KeyTooLong") {
				// The mux cleans some of them before anybody sees them, and what is not UTF-8 cannot be signed: there the signature does not fit.
				if got.StatusCode == http.StatusForbidden && slices.Contains(unsignable, key) {
					continue
				}
				t.Errorf("%s %q: %d %q", method, key, got.StatusCode, got.text)
			}
		}
		p.want(t, http.StatusBadRequest, "", http.MethodPut, path("raw/copy"), "", "X-Amz-Copy-Source", path(key))
	}
	// Keys in bodies go the same way.
	deletion := "<Delete><Object><Key>code/secret</Key></Object><Object><Key>raw/../code/secret</Key></Object></Delete>"
	got := p.want(t, http.StatusOK, "is not below", http.MethodPost, "/"+name+"?delete=", deletion, "Content-Md5", md5Header(deletion))
	if strings.Contains(got.text, "<Deleted>") {
		t.Errorf("deleted: %s", got.text)
	}
	if infos, err := p.bucket.List(t.Context(), "", "", 10); err != nil || len(infos) != 1 {
		t.Fatalf("the bucket holds %v, %v", infos, err)
	}
}

func md5Header(content string) string {
	digest := md5.Sum([]byte(content))
	return base64.StdEncoding.EncodeToString(digest[:])
}

func TestDeleteMany(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	var body strings.Builder
	body.WriteString("<Delete>")
	for i := range 20 {
		key := fmt.Sprintf("raw/dir/ü %d", i)
		objectstest.Put(t, p.bucket, key, "x")
		fmt.Fprintf(&body, "<Object><Key>%s</Key></Object>", key)
	}
	body.WriteString("</Delete>")
	got := p.want(t, http.StatusOK, "", http.MethodPost, "/"+name+"?delete=", body.String(), "Content-Md5", md5Header(body.String()))
	if n := strings.Count(got.text, "<Deleted>"); n != 20 {
		t.Fatalf("%d deleted: %s", n, got.text)
	}
	p.empty(t)
}

func TestPayloadRefused(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	damaged := func(target, body string) *http.Request {
		r := p.request(t, http.MethodPut, target, body)
		r.Body = io.NopCloser(strings.NewReader(strings.ToUpper(body)))
		return r
	}
	do(t, damaged(path("raw/x"), "content")).want(t, http.StatusBadRequest, "BadDigest")
	p.want(t, http.StatusBadRequest, "BadDigest", http.MethodPut, path("raw/x"), "content", "Content-Md5", md5Header("other"))
	p.want(t, http.StatusBadRequest, "InvalidArgument", http.MethodPut, path("raw/x"), "content", "X-Amz-Content-Sha256", "beef")
	p.want(t, http.StatusBadRequest, "EntityTooLarge", http.MethodPut, path("raw/x"), zeros(1<<20+1))
	endless := p.request(t, http.MethodPut, path("raw/x"), "", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	endless.ContentLength, endless.Body = -1, io.NopCloser(strings.NewReader(zeros(1<<20+1)))
	do(t, endless).want(t, http.StatusBadRequest, "EntityTooLarge")
	p.empty(t)
	p.want(t, http.StatusOK, "", http.MethodPut, path("raw/x"), zeros(1<<20))
	p.want(t, http.StatusOK, "", http.MethodPut, path("raw/x"), "content", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	p.want(t, http.StatusBadRequest, "InvalidRequest", http.MethodPut, path("raw/x/below"), "content")
}

// list follows a listing to its end, in pages of the given size.
func (p plane) list(t *testing.T, query string, page int) (keys, prefixes []string) {
	t.Helper()
	token := ""
	for {
		target := fmt.Sprintf("/%s?list-type=2&max-keys=%d&%s%s", name, page, query, token)
		var got struct {
			IsTruncated           bool
			NextContinuationToken string
			Contents              []struct{ Key string }
			CommonPrefixes        []struct{ Prefix string }
		}
		if err := xml.Unmarshal([]byte(p.want(t, http.StatusOK, "", http.MethodGet, target, "").text), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Contents)+len(got.CommonPrefixes) > page {
			t.Fatalf("%d entries in a page of %d", len(got.Contents)+len(got.CommonPrefixes), page)
		}
		for _, content := range got.Contents {
			keys = append(keys, content.Key)
		}
		for _, prefix := range got.CommonPrefixes {
			prefixes = append(prefixes, prefix.Prefix)
		}
		if !got.IsTruncated {
			return keys, prefixes
		}
		token = "&continuation-token=" + got.NextContinuationToken
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	p := start(t, func(o *s3endpoint.Options) { o.Prefixes = []objects.Key{"raw", "raw/a", "b/up", "raw-2"} })
	all := []string{"b/up/1", "raw-2/x", "raw/a", "raw/b-c/x", "raw/b.txt", "raw/b/c/1", "raw/b/c/2", "raw/b/d", "raw/b0", "raw/ü/x"}
	for _, key := range all {
		objectstest.Put(t, p.bucket, key, "x")
	}
	for _, key := range []string{"a", "b/other", "raw0/x", "zzz/x"} {
		objectstest.Put(t, p.bucket, key, "not served")
	}
	for _, prefix := range []string{"", "b", "b/", "r", "raw", "raw/", "raw/b", "raw/b/", "raw/b/c/1", "raw/b/c/", "raw/none/", "raw/../", "zzz", "raw/%C3%BC/"} {
		text := strings.ReplaceAll(prefix, "%C3%BC", "ü")
		var wantKeys, wantShort, wantPrefixes []string
		for _, key := range all {
			rest, ok := strings.CutPrefix(key, text)
			if !ok {
				continue
			}
			wantKeys = append(wantKeys, key)
			if i := strings.IndexByte(rest, '/'); i < 0 {
				wantShort = append(wantShort, key)
			} else if common := text + rest[:i+1]; !slices.Contains(wantPrefixes, common) {
				wantPrefixes = append(wantPrefixes, common)
			}
		}
		for _, page := range []int{1, 2, 3, 100} {
			if keys, prefixes := p.list(t, "prefix="+prefix, page); !slices.Equal(keys, wantKeys) || prefixes != nil {
				t.Errorf("prefix %q in pages of %d: %q, %q; want %q", text, page, keys, prefixes, wantKeys)
			}
			if keys, prefixes := p.list(t, "delimiter=/&prefix="+prefix, page); !slices.Equal(keys, wantShort) || !slices.Equal(prefixes, wantPrefixes) {
				t.Errorf("prefix %q with delimiter in pages of %d: %q, %q; want %q, %q", text, page, keys, prefixes, wantShort, wantPrefixes)
			}
		}
	}
	p.want(t, http.StatusNotImplemented, "delimiter", http.MethodGet, "/"+name+"?list-type=2&delimiter=x", "")
}

// A listing with a delimiter jumps over what is below a folder, however much it is.
func TestListJumps(t *testing.T) {
	t.Parallel()
	bucket := &counting{}
	p := startOn(t, bucket, nil)
	keys, prefixes := p.list(t, "delimiter=/&prefix=raw/", 1000)
	if len(keys) != 0 || len(prefixes) != 3 || bucket.lists.Load() > 5 {
		t.Fatalf("%q and %q with %d lists", keys, prefixes, bucket.lists.Load())
	}
}

// counting is a bucket of three folders with more objects than can be listed.
type counting struct {
	objects.Bucket
	lists atomic.Int32
}

func (c *counting) List(_ context.Context, _, after objects.Key, limit int) ([]objects.Info, error) {
	c.lists.Add(1)
	for _, folder := range []string{"raw/a/", "raw/b/", "raw/c/"} {
		if string(after) < folder+"\U0010FFFF" {
			infos := make([]objects.Info, limit)
			for i := range infos {
				infos[i] = objects.Info{Key: max(objects.Key(folder+"0"), after) + "0"}
			}
			return infos, nil
		}
	}
	return nil, nil
}

// A full disk is told as what a client tries again; what goes wrong inside stays inside.
func TestBucketFailures(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"503 SlowDown":      fault.New(fault.KindUnavailable, "the disk is full; make room"),
		"500 InternalError": fmt.Errorf("a path of the host: /secret"),
	} {
		p := startOn(t, failing{err: err}, nil)
		got := do(t, p.request(t, http.MethodPut, path("raw/x"), "x"))
		status, code, _ := strings.Cut(want, " ")
		if fmt.Sprint(got.StatusCode) != status || !strings.Contains(got.text, code) || strings.Contains(got.text, "/secret") {
			t.Errorf("%v: %d %q", err, got.StatusCode, got.text)
		}
	}
}

type failing struct {
	objects.Bucket
	err error
}

func (f failing) Put(context.Context, objects.Key, io.Reader, objects.PutOptions) (objects.Info, error) {
	return objects.Info{}, f.err
}

func TestRequestsAtATime(t *testing.T) {
	t.Parallel()
	bucket := &crowded{}
	p := startOn(t, bucket, func(o *s3endpoint.Options) { o.MaxRequests = 3 })
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			if got := do(t, p.request(t, http.MethodHead, path("raw/x"), "")); got.StatusCode != http.StatusNotFound {
				t.Errorf("got %d", got.StatusCode)
			}
		})
	}
	clients.Wait()
	if most := bucket.most.Load(); most > 3 {
		t.Fatalf("%d requests at a time, want 3 at most", most)
	}
}

type crowded struct {
	objects.Bucket
	now, most atomic.Int32
}

func (c *crowded) Stat(context.Context, objects.Key) (objects.Info, error) {
	defer c.now.Add(-1)
	now := c.now.Add(1)
	for most := c.most.Load(); now > most && !c.most.CompareAndSwap(most, now); most = c.most.Load() {
	}
	time.Sleep(time.Millisecond) // so that requests meet; the test holds without it, too
	return objects.Info{}, fault.NotFound("object", "x")
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	key := objectstest.Key(t, "raw/p/d/run/Größe 100%.csv")
	uri := p.endpoint.URI(key)
	for _, uri := range []string{uri, uri + "/"} {
		if got, err := p.endpoint.Key(uri); err != nil || got != key {
			t.Errorf("Key(%q) = %q, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"", "s3://", "s3://biplane", "s3://biplane/", "s3://biplane/raw", "s3://biplane/code/x", "s3://other/raw/x", "/raw/x", "file:///raw/x", "s3://biplane/raw/../code/x", "s3://biplane/raw//x", "s3://biplane/raw/%2e%2e/x", "s3://biplane/raw/a\x00", "S3://biplane/raw/x"} {
		if _, err := p.endpoint.Key(uri); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("Key(%q): %v", uri, err)
		}
	}
	for _, env := range []map[string]string{p.endpoint.Environment(p.url), p.endpoint.TaskEnvironment(p.url)} {
		if env["FLYTE_AWS_ENDPOINT"] != p.url || env["FLYTE_AWS_ACCESS_KEY_ID"] != credentials.AccessKey || env["FLYTE_AWS_SECRET_ACCESS_KEY"] != credentials.Secret {
			t.Errorf("environment %v", env)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	good := s3endpoint.Options{Name: name, Prefixes: []objects.Key{"raw"}, Credentials: credentials, Staging: t.TempDir()}
	for what, change := range map[string]func(*s3endpoint.Options){
		"no credentials": func(o *s3endpoint.Options) { o.Credentials = s3endpoint.Credentials{} },
		"no secret":      func(o *s3endpoint.Options) { o.Credentials.Secret = "" },
		"no prefixes":    func(o *s3endpoint.Options) { o.Prefixes = nil },
		"no name":        func(o *s3endpoint.Options) { o.Name = "" },
		"no staging":     func(o *s3endpoint.Options) { o.Staging = "" },
	} {
		options := good
		change(&options)
		if _, err := s3endpoint.New(nil, options); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "s3.key")
	first, err := s3endpoint.LoadCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s3endpoint.LoadCredentials(file)
	if err != nil || again != first || len(first.Secret) != 64 || first.AccessKey == "" {
		t.Fatalf("%v, then %v, %v", first, again, err)
	}
	if other, err := s3endpoint.LoadCredentials(file + "2"); err != nil || other.Secret == first.Secret || other.AccessKey == first.AccessKey {
		t.Fatalf("two planes share credentials: %v", err)
	}
	for _, text := range []string{fmt.Sprint(first), fmt.Sprintf("%+v", first), fmt.Sprintf("%#v", first), fmt.Sprintf("%v", struct{ C s3endpoint.Credentials }{first})} {
		if strings.Contains(text, first.Secret) {
			t.Errorf("a log would hold the secret: %s", text)
		}
	}
}
