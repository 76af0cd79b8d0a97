package s3endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/rclone/gofakes3"
)

// parameters are the query parameters that pass, by method. With others a request would be something else than the reading and
// writing of objects, which gofakes3 may serve and we do not want served.
var parameters = map[string][]string{
	http.MethodGet:    {"list-type", "prefix", "delimiter", "continuation-token", "start-after", "marker", "max-keys", "encoding-type", "fetch-owner", "location", "x-id"},
	http.MethodHead:   {"x-id"},
	http.MethodPut:    {"partNumber", "uploadId", "x-id"},
	http.MethodPost:   {"uploads", "uploadId", "delete", "x-id"},
	http.MethodDelete: {"uploadId", "x-id"},
}

// headers say how a payload is covered by the signature (x-amz-content-sha256).
const (
	payloadHeader   = "X-Amz-Content-Sha256"
	payloadUnsigned = "UNSIGNED-PAYLOAD"
)

// gate lets through what an S3 client for data sends, one request a slot.
func (e *Endpoint) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case e.slots <- struct{}{}:
			defer func() { <-e.slots }()
		case <-r.Context().Done():
			return
		}
		allowed, ok := parameters[r.Method]
		if !ok {
			refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "raw data is read and written with GET, HEAD, PUT, POST and DELETE")
			return
		}
		query := r.URL.Query()
		for parameter := range query {
			if !slices.Contains(allowed, parameter) {
				refuse(w, http.StatusNotImplemented, "NotImplemented", "the data plane does not serve requests with the parameter "+parameter)
				return
			}
		}
		if r.Method == http.MethodPost && len(query) == 0 {
			refuse(w, http.StatusNotImplemented, "NotImplemented", "the data plane does not take uploads by form")
			return
		}
		if r.Method == http.MethodPost {
			// Lists of parts and keys, which gofakes3 reads whole.
			r.Body = http.MaxBytesReader(w, r.Body, gofakes3.MaxXMLBodySize)
		} else {
			r.Body = http.MaxBytesReader(w, r.Body, e.options.MaxObject)
		}
		if r.ContentLength > e.options.MaxObject {
			refuse(w, http.StatusBadRequest, "EntityTooLarge", "the object is larger than this data plane takes")
			return
		}
		switch payload := r.Header.Get(payloadHeader); {
		case payload == "" || payload == payloadUnsigned:
		case strings.HasPrefix(payload, "STREAMING-"):
			refuse(w, http.StatusNotImplemented, "NotImplemented", "the data plane does not take payloads in signed chunks; sign the payload as a whole")
			return
		default:
			sum, err := hex.DecodeString(payload)
			if err != nil || len(sum) != sha256.Size {
				refuse(w, http.StatusBadRequest, "InvalidArgument", payloadHeader+" is not a SHA-256")
				return
			}
			r.Body = &checkedBody{ReadCloser: r.Body, left: r.ContentLength, hash: sha256.New(), want: string(sum)}
		}
		next.ServeHTTP(w, r)
	})
}

// checkedBody fails at its end when the payload is not what was signed. The reader behind it stops at the announced length and never sees
// the end, so the last announced byte counts as the end, too.
type checkedBody struct {
	io.ReadCloser
	left int64 // -1 when not announced
	hash hash.Hash
	want string
}

func (b *checkedBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	b.hash.Write(buffer[:n])
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if (err == io.EOF || b.left == 0) && string(b.hash.Sum(nil)) != b.want {
		return n, gofakes3.ErrorMessage(gofakes3.ErrBadDigest, "the payload is not the one that was signed: it was damaged on the way")
	}
	return n, err
}

// refuse answers as S3 does, so that clients show the words.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	// A failure means that the client has gone.
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message})
}
