package s3endpoint_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/s3endpoint"
)

const name = "biplane"

var credentials = s3endpoint.Credentials{AccessKey: "biplane0123", Secret: "a secret of the test"}

// client signs requests as AWS describes it (Signature Version 4), independently of the library that checks them.
type client struct {
	credentials s3endpoint.Credentials
	url         string
	at          time.Time
}

// plane is an endpoint on a loopback port.
type plane struct {
	client
	endpoint *s3endpoint.Endpoint
	bucket   *objects.File
	staging  string
}

func start(t *testing.T, change func(*s3endpoint.Options)) plane {
	t.Helper()
	bucket, err := objects.OpenFile(t.TempDir(), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	p := startOn(t, bucket, change)
	p.bucket = bucket
	return p
}

func startOn(t *testing.T, bucket objects.Bucket, change func(*s3endpoint.Options)) plane {
	t.Helper()
	options := s3endpoint.Options{
		Name: name, Prefixes: []objects.Key{"raw"}, Credentials: credentials, Staging: filepath.Join(t.TempDir(), "staging"),
		MaxObject: 1 << 20, MaxUploads: 4, MaxRequests: 16, Idle: time.Minute, Total: time.Hour, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&options)
	}
	endpoint, err := s3endpoint.New(bucket, options)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/"+name, endpoint)
	mux.Handle("/"+name+"/", endpoint)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return plane{client: client{credentials: credentials, url: server.URL}, endpoint: endpoint, staging: options.Staging}
}

// path is the URL path of a key, as S3 clients escape it.
func path(key string) string {
	segments := strings.Split(name+"/"+key, "/")
	for i, segment := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
	}
	return "/" + strings.Join(segments, "/")
}

// request is signed; change what must not be changed afterwards. target is an escaped path with an optional query.
func (c client) request(t *testing.T, method, target, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.url+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	at := c.at
	if at.IsZero() {
		at = time.Now()
	}
	at = at.UTC()
	payload := sha256.Sum256([]byte(body))
	r.Header.Set("X-Amz-Date", at.Format("20060102T150405Z"))
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(payload[:]))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	signed := []string{"host"}
	for name := range r.Header {
		signed = append(signed, strings.ToLower(name))
	}
	slices.Sort(signed)
	canonical := method + "\n" + r.URL.EscapedPath() + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n"
	for _, name := range signed {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.URL.Host
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + strings.Join(signed, ";") + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	scope := at.Format("20060102") + "/us-east-1/s3/aws4_request"
	digest := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + c.credentials.Secret)
	for _, part := range strings.Split(scope, "/") {
		key = sum(key, part)
	}
	signature := sum(key, "AWS4-HMAC-SHA256\n"+at.Format("20060102T150405Z")+"\n"+scope+"\n"+hex.EncodeToString(digest[:]))
	r.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", c.credentials.AccessKey, scope, strings.Join(signed, ";"), signature))
	return r
}

func sum(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

type answer struct {
	*http.Response
	text string
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return answer{response, string(text)}
}

// want sends a signed request and fails unless the answer has the status and the words.
func (c client) want(t *testing.T, status int, words, method, target, body string, header ...string) answer {
	t.Helper()
	got := do(t, c.request(t, method, target, body, header...))
	got.want(t, status, words)
	return got
}

func (a answer) want(t *testing.T, status int, words string) {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(a.text, words) {
		t.Fatalf("%s %s: %d %q, want %d with %q", a.Request.Method, a.Request.URL, a.StatusCode, a.text, status, words)
	}
}

// empty fails when anything at all was stored.
func (p plane) empty(t *testing.T) {
	t.Helper()
	if infos, err := p.bucket.List(t.Context(), "", "", 1); err != nil || len(infos) != 0 {
		t.Fatalf("stored: %v, %v", infos, err)
	}
}

func zeros(n int) string { return string(bytes.Repeat([]byte{0}, n)) }
