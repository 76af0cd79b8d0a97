package plane_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
)

func location(content []byte, filename string) *dataproxy.CreateUploadLocationRequest {
	sum := md5.Sum(content)
	return &dataproxy.CreateUploadLocationRequest{
		Project: project, Domain: domain, Filename: filename, ContentMd5: sum[:], ContentLength: int64(len(content)),
	}
}

func (b *bench) locate(request *dataproxy.CreateUploadLocationRequest) *dataproxy.CreateUploadLocationResponse {
	b.Helper()
	response, err := b.data.CreateUploadLocation(b.Context(), request)
	wantOK(b, "ask for a place to upload to", err)
	return response
}

// do sends a request to an absolute URL.
func (b *bench) do(verb, address string, body []byte, headers ...string) (int, string) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), verb, address, bytes.NewReader(body))
	wantOK(b, "make a request", err)
	for _, header := range headers {
		if name, value, ok := strings.Cut(header, ": "); ok {
			request.Header.Set(name, value)
		}
	}
	response, err := b.http.Do(request)
	wantOK(b, verb, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	wantOK(b, verb, err)
	return response.StatusCode, string(content)
}

// A signed URL is good for one object, one method, one content and a while.
func TestSignedURLs(t *testing.T) {
	b := start(t)
	content, other := []byte("a bundle of code"), []byte("something else!!")
	place := b.locate(location(content, "code.tgz"))
	elsewhere := b.locate(location(content, "other.tgz"))
	short := location(content, "late.tgz")
	short.ExpiresIn = durationpb.New(time.Second)
	expired := b.locate(short)
	change := func(from string, how func(*url.URL, url.Values)) string {
		address, err := url.Parse(from)
		wantOK(t, "parse", err)
		query := address.Query()
		how(address, query)
		address.RawQuery = query.Encode()
		return address.String()
	}
	set := func(name, value string) string {
		return change(place.GetSignedUrl(), func(_ *url.URL, query url.Values) { query.Set(name, value) })
	}
	altered := "the signature of this URL does not fit"
	sum := md5.Sum(other)
	until(t, "the URL has expired", func() bool { return time.Now().After(expired.GetExpiresAt().AsTime().Add(time.Second)) })

	before := b.snapshot()
	for what, test := range map[string]struct {
		verb, address string
		body          []byte
		header        string
		status        int
		words         string
	}{
		"expired":             {"PUT", expired.GetSignedUrl(), content, "", 403, "Request has expired"},
		"made to last":        {"PUT", set("expires", "9999999999"), content, "", 403, altered},
		"for another size":    {"PUT", set("size", "17"), append(other, '!'), "", 403, altered},
		"for another content": {"PUT", set("md5", "00000000000000000000000000000000"), other, "", 403, altered},
		"to replace":          {"PUT", set("replace", "1"), content, "", 403, altered},
		"without a signature": {"PUT", set("signature", ""), content, "", 403, altered},
		"reused for another key": {"PUT", change(place.GetSignedUrl(), func(address *url.URL, _ url.Values) {
			address.Path = strings.Replace(address.Path, "code.tgz", "evil.tgz", 1)
		}), content, "", 403, altered},
		"with another's signature": {"PUT", change(elsewhere.GetSignedUrl(), func(address *url.URL, _ url.Values) {
			address.Path = strings.Replace(address.Path, "other.tgz", "code.tgz", 1)
		}), content, "", 403, altered},
		"for a key that climbs": {"PUT", change(place.GetSignedUrl(), func(address *url.URL, _ url.Values) {
			address.Path += "/../../../escape"
		}), content, "", 403, altered},
		"to read":          {"GET", place.GetSignedUrl(), nil, "", 403, altered},
		"to delete":        {"DELETE", place.GetSignedUrl(), nil, "", 405, "GET, HEAD or PUT"},
		"another MD5":      {"PUT", place.GetSignedUrl(), other, "", 400, "has the MD5"},
		"another header":   {"PUT", place.GetSignedUrl(), content, "Content-MD5: " + base64.StdEncoding.EncodeToString(sum[:]), 400, "Content-MD5"},
		"a damaged header": {"PUT", place.GetSignedUrl(), content, "Content-MD5: nonsense", 400, "is not the base64 of an MD5"},
		"too short":        {"PUT", place.GetSignedUrl(), content[1:], "", 400, "16 bytes"},
		"too long":         {"PUT", place.GetSignedUrl(), append(content, 'x'), "", 400, "16 bytes"},
	} {
		t.Run(what, func(t *testing.T) {
			status, text := b.do(test.verb, test.address, test.body, test.header)
			if status != test.status || !strings.Contains(text, test.words) {
				t.Errorf("answered %d %q, want %d with %q", status, text, test.status, test.words)
			}
		})
	}
	b.unchanged(before, "an upload that was refused")

	if status, text := b.do("PUT", place.GetSignedUrl(), content); status != 200 {
		t.Fatalf("the upload that was asked for: %d %q", status, text)
	}
	stored, err := os.ReadFile(place.GetNativeUrl())
	if err != nil || !bytes.Equal(stored, content) {
		t.Errorf("stored %q (%v)", stored, err)
	}
	// Once it is there, nobody replaces it: not by its name, and not with an URL from before.
	fixed := func(content []byte) *dataproxy.CreateUploadLocationRequest {
		request := location(content, "code.tgz")
		request.FilenameRoot = "fixed"
		return request
	}
	first, second := b.locate(fixed(content)), b.locate(fixed(other))
	if status, text := b.do("PUT", first.GetSignedUrl(), content); status != 200 {
		t.Fatalf("the first upload: %d %q", status, text)
	}
	before = b.snapshot()
	if status, text := b.do("PUT", second.GetSignedUrl(), other); status != 409 || !strings.Contains(text, "exists with other content") {
		t.Errorf("an upload over another: %d %q", status, text)
	}
	_, err = b.data.CreateUploadLocation(t.Context(), fixed(other))
	wantCode(t, err, connect.CodeAlreadyExists, "other content", "choose another filename")
	if status, text := b.do("PUT", first.GetSignedUrl(), content); status != 200 {
		t.Errorf("the first upload again: %d %q", status, text)
	}
	b.unchanged(before, "an upload over another")
}
