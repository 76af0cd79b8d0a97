package objects_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/data/objects/objectstest"
)

const maxBody = 1 << 20

// served is a bucket behind signed URLs on a loopback port.
type served struct {
	*objects.Signer
	bucket *objects.File
	url    string
}

func serve(t *testing.T, change func(*objects.HandlerOptions)) served {
	t.Helper()
	bucket := open(t, t.TempDir(), objects.FileOptions{})
	signer := objects.NewSigner([]byte("0123456789abcdef0123456789abcdef"), "/objects/")
	options := objects.HandlerOptions{MaxBody: maxBody, Idle: time.Minute, Total: time.Minute, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&options)
	}
	mux := http.NewServeMux()
	mux.Handle("/objects/", objects.NewHandler(bucket, signer, options))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return served{Signer: signer, bucket: bucket, url: server.URL}
}

// ask sends a request and gives the answer with its whole text.
func (s served) ask(t *testing.T, method, target string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func (s served) want(t *testing.T, status int, words, method, target string, body io.Reader, header ...string) *http.Response {
	t.Helper()
	answer, text := s.ask(t, method, target, body, header...)
	if answer.StatusCode != status || !strings.Contains(text, words) {
		t.Fatalf("%s %s: %d %q, want %d with %q", method, target, answer.StatusCode, text, status, words)
	}
	return answer
}

// empty fails when anything at all was stored.
func (s served) empty(t *testing.T) {
	t.Helper()
	if infos, err := s.bucket.List(t.Context(), "", "", 1); err != nil || len(infos) != 0 {
		t.Fatalf("stored: %v, %v", infos, err)
	}
}

func sum(content string) *[16]byte {
	s := md5.Sum([]byte(content))
	return &s
}

func base64MD5(content string) string { return base64.StdEncoding.EncodeToString(sum(content)[:]) }

func soon() time.Time { return time.Now().Add(time.Minute) }

func TestSignedUpload(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const content = "the code"
	for i, name := range []string{"fast.tar.gz", "Größe (1) 100% & more?#.csv", "データ。csv", "a+b=c@d,e~f"} {
		key := objectstest.Key(t, fmt.Sprintf("p/d/uploads/%d/%s", i, name))
		target := s.SignPut(key, objects.Upload{Expires: soon(), Size: int64(len(content)), MD5: sum(content)})
		// What the SDK sends (remote/_data.py): Content-Length, Content-MD5 and a guessed Content-Type.
		for range 2 { // equal content again is a success: the SDK uploads a bundle again
			s.want(t, http.StatusOK, "", http.MethodPut, target, strings.NewReader(content), "Content-MD5", base64MD5(content), "Content-Type", "application/x-tar")
		}
		if got := objectstest.Get(t, s.bucket, string(key)); got != content {
			t.Fatalf("%s holds %q", key, got)
		}
		_, text := s.ask(t, http.MethodGet, s.SignGet(key, soon()), nil)
		if text != content {
			t.Fatalf("GET %s gives %q", key, text)
		}
	}
}

func TestSignedUploadConflict(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	target := s.SignPut("k", objects.Upload{Expires: soon(), Size: -1})
	s.want(t, http.StatusOK, "", http.MethodPut, target, strings.NewReader("one"))
	s.want(t, http.StatusConflict, "other content", http.MethodPut, target, strings.NewReader("two"))
	if got := objectstest.Get(t, s.bucket, "k"); got != "one" {
		t.Fatalf("holds %q", got)
	}
	target = s.SignPut("k", objects.Upload{Expires: soon(), Size: -1, Replace: true})
	s.want(t, http.StatusOK, "", http.MethodPut, target, strings.NewReader("two"))
	if got := objectstest.Get(t, s.bucket, "k"); got != "two" {
		t.Fatalf("holds %q", got)
	}
}

func TestSignatureRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	objectstest.Put(t, s.bucket, "theirs/secret", "secret")
	put := s.SignPut("mine/object", objects.Upload{Expires: soon(), Size: 7, MD5: sum("content")})
	get := s.SignGet("mine/object", soon())
	other := objects.NewSigner([]byte("another plane's key, as long as it"), "/objects/")
	query := func(target string) string { return target[strings.Index(target, "?"):] }
	change := func(target, old, new string) string {
		if !strings.Contains(target, old) {
			t.Fatalf("%q is not in %q", old, target)
		}
		return strings.Replace(target, old, new, 1)
	}
	for name, request := range map[string][2]string{
		"no signature":       {http.MethodPut, "/objects/mine/object"},
		"no query":           {http.MethodGet, "/objects/theirs/secret"},
		"empty signature":    {http.MethodPut, put[:strings.Index(put, "signature=")] + "signature="},
		"half a signature":   {http.MethodPut, put[:len(put)-8]},
		"altered signature":  {http.MethodPut, put[:len(put)-8] + "AAAAAAAA"},
		"another key":        {http.MethodPut, "/objects/mine/other" + query(put)},
		"a key below":        {http.MethodPut, "/objects/mine/object/below" + query(put)},
		"the key above":      {http.MethodPut, "/objects/mine" + query(put)},
		"get of another key": {http.MethodGet, "/objects/theirs/secret" + query(get)},
		"get with put":       {http.MethodGet, put},
		"put with get":       {http.MethodPut, get},
		"later expiry":       {http.MethodPut, change(put, "expires=1", "expires=2")},
		"no expiry":          {http.MethodPut, change(put, "expires=", "expired=")},
		"another size":       {http.MethodPut, change(put, "size=7", "size=8")},
		"no size":            {http.MethodPut, change(put, "&size=7", "")},
		"another MD5":        {http.MethodPut, change(put, "md5=", "md5=00")},
		"no MD5":             {http.MethodPut, change(put, "md5=", "md6=")},
		"replace":            {http.MethodPut, put + "&replace=1"},
		"another plane":      {http.MethodGet, other.SignGet("theirs/secret", soon())},
		"dots":               {http.MethodGet, "/objects/theirs/%2e%2e/theirs/secret" + query(get)},
		"encoded separator":  {http.MethodGet, "/objects/mine%2f..%2ftheirs/secret" + query(get)},
		"look-alike":         {http.MethodGet, "/objects/theirs%E2%88%95secret" + query(get)},
		"NUL":                {http.MethodGet, "/objects/mine/object%00" + query(get)},
		"overlong":           {http.MethodGet, "/objects/" + strings.Repeat("a", 5000) + query(get)},
		"a trailing slash":   {http.MethodGet, "/objects/mine/object/" + query(get)},
		"line feed":          {http.MethodGet, "/objects/mine%0Aobject" + query(get)},
	} {
		answer, text := s.ask(t, request[0], request[1], nil)
		if answer.StatusCode != http.StatusForbidden || !strings.Contains(text, "ask for a new one") || strings.Contains(text, "expired at") {
			t.Errorf("%s: %s %s gives %d %q", name, request[0], request[1], answer.StatusCode, text)
		}
	}
	s.want(t, http.StatusMethodNotAllowed, "GET, HEAD or PUT", http.MethodDelete, s.SignGet("theirs/secret", soon()), nil)
	if infos, err := s.bucket.List(t.Context(), "", "", 10); err != nil || len(infos) != 1 {
		t.Fatalf("the bucket holds %v, %v", infos, err)
	}
}

func TestSignatureExpired(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	objectstest.Put(t, s.bucket, "there", "x")
	past := time.Now().Add(-2 * time.Second)
	// The stock SDK looks for these words, in lower case, to give its own advice.
	s.want(t, http.StatusForbidden, "Request has expired", http.MethodPut, s.SignPut("new", objects.Upload{Expires: past, Size: 1}), strings.NewReader("x"))
	s.want(t, http.StatusForbidden, "the URL expired at", http.MethodGet, s.SignGet("there", past), nil)
	// That it expired is for its holder only: an altered one says nothing about it.
	answer, text := s.ask(t, http.MethodGet, strings.Replace(s.SignGet("there", past), "/there", "/other", 1), nil)
	if answer.StatusCode != http.StatusForbidden || strings.Contains(text, "expired at") {
		t.Fatalf("%d %q", answer.StatusCode, text)
	}
	if infos, err := s.bucket.List(t.Context(), "", "", 10); err != nil || len(infos) != 1 {
		t.Fatalf("the bucket holds %v, %v", infos, err)
	}
}

func TestUploadContentRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	signed := s.SignPut("k", objects.Upload{Expires: soon(), Size: 7, MD5: sum("content")})
	open := s.SignPut("k", objects.Upload{Expires: soon(), Size: -1})
	chunked := func(content string) io.Reader { return io.MultiReader(strings.NewReader(content)) } // of unknown length
	s.want(t, http.StatusBadRequest, "MD5", http.MethodPut, signed, strings.NewReader("tnetnoc"))
	s.want(t, http.StatusBadRequest, "Content-MD5", http.MethodPut, signed, strings.NewReader("content"), "Content-MD5", base64MD5("other"))
	s.want(t, http.StatusBadRequest, "Content-Length", http.MethodPut, signed, strings.NewReader("content!"))
	s.want(t, http.StatusBadRequest, "longer", http.MethodPut, signed, chunked("content!"))
	s.want(t, http.StatusBadRequest, "6 bytes", http.MethodPut, signed, chunked("conten"))
	s.want(t, http.StatusBadRequest, "MD5", http.MethodPut, open, strings.NewReader("content"), "Content-MD5", base64MD5("other"))
	s.want(t, http.StatusBadRequest, "base64", http.MethodPut, open, strings.NewReader("content"), "Content-MD5", "not base64")
	s.want(t, http.StatusBadRequest, "base64", http.MethodPut, open, strings.NewReader("content"), "Content-MD5", "c2hvcnQ=")
	s.want(t, http.StatusRequestEntityTooLarge, "larger", http.MethodPut, open, bytes.NewReader(make([]byte, maxBody+1)))
	s.want(t, http.StatusRequestEntityTooLarge, "larger", http.MethodPut, open, chunked(strings.Repeat("x", maxBody+1)))
	s.empty(t)
	s.want(t, http.StatusOK, "", http.MethodPut, open, chunked(strings.Repeat("x", maxBody)))
}

// An upload that ends too early stores nothing.
func TestUploadCut(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	connection := dial(t, s.url)
	fmt.Fprintf(connection, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", s.SignPut("k", objects.Upload{Expires: soon(), Size: 100}))
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil || !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "announced length") {
		t.Fatalf("got %q, %v", answer, err)
	}
	s.empty(t)
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if err := connection.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return connection
}

func TestDownload(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	info := objectstest.Put(t, s.bucket, "p/data.bin", "0123456789")
	target := s.SignGet(info.Key, soon())
	for _, tc := range []struct {
		ranges, want string
		status       int
	}{{"", "0123456789", 200}, {"bytes=0-3", "0123", 206}, {"bytes=4-", "456789", 206}, {"bytes=-2", "89", 206}, {"bytes=8-100", "89", 206}, {"bytes=10-", "", 416}, {"bytes=5-4", "", 416}} {
		answer, text := s.ask(t, http.MethodGet, target, nil, "Range", tc.ranges)
		if answer.StatusCode != tc.status || tc.status != 416 && text != tc.want {
			t.Errorf("range %q: %d %q, want %d %q", tc.ranges, answer.StatusCode, text, tc.status, tc.want)
		}
	}
	if _, text := s.ask(t, http.MethodGet, target, nil, "Range", "bytes=0-1,8-9"); !strings.Contains(text, "\r\n01\r\n") || !strings.Contains(text, "\r\n89\r\n") {
		t.Errorf("two ranges: %q", text)
	}
	answer, text := s.ask(t, http.MethodHead, target, nil)
	if answer.StatusCode != http.StatusOK || answer.ContentLength != 10 || text != "" || answer.Header.Get("ETag") != fmt.Sprintf(`"%x"`, info.MD5) {
		t.Errorf("HEAD: %d, %d bytes, %v", answer.StatusCode, answer.ContentLength, answer.Header)
	}
	s.want(t, http.StatusNotModified, "", http.MethodGet, target, nil, "If-None-Match", answer.Header.Get("ETag"))
	s.want(t, http.StatusNotFound, `"p/none" does not exist`, http.MethodGet, s.SignGet("p/none", soon()), nil)
}

// A report is user code in a browser: it must show, and reach nothing. Whatever else is stored must not be taken for a page.
func TestDownloadTypes(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	const page = "<html><script>1</script></html>"
	for path, wantType := range map[string]string{
		"r/report.html": "text/html; charset=utf-8", "r/report.htm": "application/octet-stream", "r/html": "application/octet-stream",
		"r/x.svg": "application/octet-stream", "r/x.js": "application/octet-stream", "r/outputs.pb": "application/octet-stream",
	} {
		objectstest.Put(t, s.bucket, path, page)
		answer, text := s.ask(t, http.MethodGet, s.SignGet(objects.Key(path), soon()), nil)
		policy := answer.Header.Get("Content-Security-Policy")
		if text != page || answer.Header.Get("Content-Type") != wantType || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %q, %v", path, text, answer.Header)
		}
		if !strings.HasPrefix(policy, "sandbox") || strings.Contains(policy, "allow-same-origin") || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
}

// The gateway may set server-wide deadlines; the handler's own replace them while it moves.
func TestDownloadOutlastsServerDeadline(t *testing.T) {
	t.Parallel()
	bucket := open(t, t.TempDir(), objects.FileOptions{})
	signer := objects.NewSigner([]byte("k"), "/")
	server := httptest.NewUnstartedServer(objects.NewHandler(bucket, signer, objects.HandlerOptions{MaxBody: maxBody, Idle: time.Minute, Total: time.Minute, Log: slog.New(slog.DiscardHandler)}))
	server.Config.WriteTimeout = time.Nanosecond
	server.Start()
	defer server.Close()
	objectstest.Put(t, bucket, "k", "content")
	s := served{url: server.URL}
	s.want(t, http.StatusOK, "content", http.MethodGet, signer.SignGet("k", soon()), nil)
}
