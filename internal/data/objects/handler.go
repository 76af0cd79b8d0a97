package objects

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// HandlerOptions bound what one request may cost.
type HandlerOptions struct {
	MaxBody int64         // bytes of an upload
	Idle    time.Duration // longest pause between two pieces of a body, either way
	Total   time.Duration // longest time for one body
	Log     *slog.Logger  // told the causes that a client is not
}

// Handler serves the URLs that a Signer signed. What the signature does not grant is answered with 403 before anything is read.
type Handler struct {
	bucket  Bucket
	signer  *Signer
	options HandlerOptions
	paced   http.Handler
}

// NewHandler is for the base path of signer.
func NewHandler(bucket Bucket, signer *Signer, options HandlerOptions) *Handler {
	h := &Handler{bucket: bucket, signer: signer, options: options}
	h.paced = Paced(http.HandlerFunc(h.serve), options.Idle, options.Total)
	return h
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.paced.ServeHTTP(w, r) }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPut, http.MethodGet, http.MethodHead:
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		http.Error(w, "a signed URL is for GET, HEAD or PUT", http.StatusMethodNotAllowed)
		return
	}
	granted, err := h.signer.verify(r, time.Now())
	if err != nil {
		h.fail(w, r, "", err)
		return
	}
	if r.Method == http.MethodPut {
		h.put(w, r, granted)
	} else {
		h.get(w, r, granted.key)
	}
}

func (h *Handler) put(w http.ResponseWriter, r *http.Request, granted grant) {
	limit := h.options.MaxBody
	if r.ContentLength > limit || granted.size > limit {
		h.fail(w, r, granted.key, tooLarge(limit))
		return
	}
	size := granted.size
	if size >= 0 && r.ContentLength >= 0 && r.ContentLength != size {
		h.fail(w, r, granted.key, fault.Invalid("Content-Length", "is %d; this URL is for an object of %d bytes", r.ContentLength, size))
		return
	}
	if size < 0 {
		size = r.ContentLength // -1 when the client does not say
	}
	sum, err := contentMD5(r.Header, granted.md5)
	if err != nil {
		h.fail(w, r, granted.key, err)
		return
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	info, err := h.bucket.Put(r.Context(), granted.key, body, PutOptions{Size: size, MD5: sum, Absent: !granted.replace})
	if err != nil {
		h.fail(w, r, granted.key, err)
		return
	}
	w.Header().Set("ETag", etag(info))
	w.WriteHeader(http.StatusOK)
}

// contentMD5 is the MD5 that the content must have: by the header, by the signature, or by both, which must agree.
func contentMD5(header http.Header, signed *[16]byte) (*[16]byte, error) {
	text := header.Get("Content-MD5")
	if text == "" {
		return signed, nil
	}
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != 16 {
		return nil, fault.Invalid("Content-MD5", "%q is not the base64 of an MD5", text)
	}
	if signed != nil && [16]byte(sum) != *signed {
		return nil, fault.Invalid("Content-MD5", "is %x; this URL is for content with the MD5 %x", sum, *signed)
	}
	return (*[16]byte)(sum), nil
}

func (h *Handler) get(w http.ResponseWriter, r *http.Request, key Key) {
	reader, info, err := h.bucket.Get(r.Context(), key, 0, -1)
	if err != nil {
		h.fail(w, r, key, err)
		return
	}
	content := &seeker{ctx: r.Context(), bucket: h.bucket, info: info, reader: reader}
	defer content.Close()
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "private, no-store")
	header.Set("Referrer-Policy", "no-referrer") // the address is the right to read
	if strings.HasSuffix(key.Name(), ".html") {
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", reportPolicy)
	} else {
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	}
	if info.HasMD5() {
		header.Set("ETag", etag(info))
	}
	http.ServeContent(w, r, "", info.Modified, content)
}

// reportPolicy lets a report of user code show itself, and nothing more: its scripts (the SDK's template switches tabs with one) run in
// an origin of their own, without storage, cookies, forms, windows or any connection.
const reportPolicy = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"

func etag(info Info) string { return fmt.Sprintf(`"%x"`, info.MD5) }

func tooLarge(limit int64) error {
	return fault.New(fault.KindTooLarge, "the object is larger than the %d bytes that this data plane takes in one upload", limit)
}

// fail answers with a short text. It is the only place that maps faults to HTTP, for these URLs have no Connect envelope.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, key Key, err error) {
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany):
		err = tooLarge(tooMany.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fault.New(fault.KindDeadline, "the upload stalled, or took longer than %s in all; send it again", h.options.Total)
	case errors.Is(err, io.ErrUnexpectedEOF) || r.Context().Err() != nil:
		err = fault.Invalid("content", "ended before its announced length")
	}
	status := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.KindInvalid:
		status = http.StatusBadRequest
	case fault.KindDenied:
		status = http.StatusForbidden
	case fault.KindNotFound:
		status = http.StatusNotFound
	case fault.KindExists:
		status = http.StatusConflict
	case fault.KindTooLarge:
		status = http.StatusRequestEntityTooLarge
	case fault.KindDeadline:
		status = http.StatusRequestTimeout
	case fault.KindUnavailable, fault.KindExhausted:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	}
	text := err.Error()
	if fault.KindOf(err) == fault.KindInternal {
		text = "the data plane cannot serve this object now; its log says why"
	}
	if status >= http.StatusInternalServerError {
		// The URL stays out of the log: it is a right.
		h.options.Log.ErrorContext(r.Context(), "object request failed", "method", r.Method, "key", string(key), "error", err, "cause", errors.Unwrap(err))
	}
	http.Error(w, text, status)
}
