package objects

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// Parameters of a signed URL. They need no escaping, so that no client can spell them differently.
const (
	paramExpires   = "expires"   // Unix time in seconds
	paramSize      = "size"      // bytes
	paramMD5       = "md5"       // hexadecimal
	paramReplace   = "replace"   // "1"
	paramSignature = "signature" // base64url of an HMAC-SHA256
)

// Upload is what the holder of a signed URL may store, all of it bound by the signature.
type Upload struct {
	Expires time.Time
	Size    int64     // bytes; -1 when not known
	MD5     *[16]byte // nil when not known
	Replace bool      // other content may be replaced; without it that is a conflict
}

// Signer makes and checks URLs that carry the right to one object: for clients like the stock SDK, which sends no token with an upload.
type Signer struct {
	key  []byte
	base string
}

// NewSigner signs with key, which LoadKey gives, URLs below the path base, which starts and ends with '/'.
func NewSigner(key []byte, base string) *Signer {
	return &Signer{key: key, base: base}
}

// SignPut is the path and query of a URL that stores an object with PUT.
func (s *Signer) SignPut(key Key, upload Upload) string {
	return s.sign(grant{method: http.MethodPut, key: key, expires: upload.Expires.Unix(), size: upload.Size, md5: upload.MD5, replace: upload.Replace})
}

// SignGet is the path and query of a URL that reads an object with GET and HEAD.
func (s *Signer) SignGet(key Key, expires time.Time) string {
	return s.sign(grant{method: http.MethodGet, key: key, expires: expires.Unix(), size: -1})
}

// grant is everything that a signature is over.
type grant struct {
	method  string
	key     Key
	expires int64
	size    int64
	md5     *[16]byte
	replace bool
}

func (g grant) query() url.Values {
	query := url.Values{paramExpires: {strconv.FormatInt(g.expires, 10)}}
	if g.size >= 0 {
		query.Set(paramSize, strconv.FormatInt(g.size, 10))
	}
	if g.md5 != nil {
		query.Set(paramMD5, hex.EncodeToString(g.md5[:]))
	}
	if g.replace {
		query.Set(paramReplace, "1")
	}
	return query
}

// mac is over lines: no part can hold a line feed, so no two grants give the same text.
func (s *Signer) mac(g grant) []byte {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "biplane object url 1\n%s\n%s\n%s", g.method, g.key, g.query().Encode())
	return mac.Sum(nil)
}

func (s *Signer) sign(g grant) string {
	query := g.query()
	query.Set(paramSignature, base64.RawURLEncoding.EncodeToString(s.mac(g)))
	segments := strings.Split(string(g.key), "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return s.base + strings.Join(segments, "/") + "?" + query.Encode()
}

// verify gives what the URL of a request grants. A fault of KindDenied has the words for the client.
func (s *Signer) verify(r *http.Request, now time.Time) (grant, error) {
	mismatch := fault.New(fault.KindDenied, "the signature of this URL does not fit: the URL was altered, or signed for another method, another object or by another data plane; ask for a new one")
	path, below := strings.CutPrefix(r.URL.Path, s.base)
	query := r.URL.Query()
	given, err := base64.RawURLEncoding.DecodeString(query.Get(paramSignature))
	if !below || err != nil || len(given) == 0 {
		return grant{}, mismatch
	}
	key, err := ParseKey(path)
	if err != nil {
		return grant{}, mismatch
	}
	g := grant{method: r.Method, key: key, size: -1, replace: query.Get(paramReplace) == "1"}
	if g.method == http.MethodHead {
		g.method = http.MethodGet
	}
	if g.expires, err = strconv.ParseInt(query.Get(paramExpires), 10, 64); err != nil {
		return grant{}, mismatch
	}
	if query.Has(paramSize) {
		if g.size, err = strconv.ParseInt(query.Get(paramSize), 10, 64); err != nil || g.size < 0 {
			return grant{}, mismatch
		}
	}
	if query.Has(paramMD5) {
		g.md5 = new([16]byte)
		if sum, err := hex.DecodeString(query.Get(paramMD5)); err != nil || copy(g.md5[:], sum) != len(g.md5) || len(sum) != len(g.md5) {
			return grant{}, mismatch
		}
	}
	if !hmac.Equal(given, s.mac(g)) {
		return grant{}, mismatch
	}
	if expired := time.Unix(g.expires, 0); now.After(expired) {
		// The SDK tells an expired URL from a wrong one by these first words (remote/_data.py).
		return grant{}, fault.New(fault.KindDenied, "Request has expired: the URL expired at %s, it is %s now; ask for a new one",
			expired.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return g, nil
}
