package rpc

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/internal/fault"
)

// A budget is the memory that the bodies of all requests may take together.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.max {
		b.used.Add(-n)
		return false
	}
	return true
}

// A body is a request's body within its bounds: of size, of time, of the server's memory. What it returns instead of
// too much is a Connect error, which connect-go passes on as it is.
type body struct {
	wire     io.ReadCloser // the connection's side
	message  io.Reader     // what the handler reads: the wire, or the wire inflated
	inflated *inflater     // when the server inflates, not connect-go
	left     int64         // bytes that may still come from the wire
	limit    int64         // bytes of a message, for words and for draining
	budget   *budget
	held     int64
	control  *http.ResponseController
	time     time.Duration
	failed   error
}

// boundBody bounds the body of a request with one message.
//
// The body of a unary Connect request with Content-Encoding gzip is inflated here rather than in connect-go: so its
// compressed form is never in memory as a whole, and one whose header says gzip while its bytes do not (WIRE.md 1.1) is
// taken as it is. Bodies in envelopes (gRPC, streams) are inflated by connect-go, by the same inflater.
func (s *Server) boundBody(r *http.Request, c *call) *body {
	b := &body{
		wire: r.Body, limit: c.procedure.limit, left: c.procedure.limit, budget: s.bodies,
		control: c.control, time: s.config.Limits.BodyTime,
	}
	if b.control.SetReadDeadline(time.Now().Add(b.time)) != nil {
		b.control = nil
	}
	b.message = wireReader{b}
	unary := isUnaryConnect(r)
	zipped := r.Header.Get("Content-Encoding") == "gzip"
	if zipped || !unary {
		// gzip of what does not compress is a little larger than that, and an envelope has 5 bytes more.
		b.left += b.limit/1000 + 1024
	}
	if zipped && unary {
		r.Header.Del("Content-Encoding")
		r.ContentLength = -1
		b.inflated = inflaters.Get().(*inflater)
		b.message = b.inflated.peek(wireReader{b}, b.limit)
	}
	return b
}

func isUnaryConnect(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && r.Method == http.MethodPost && strings.HasPrefix(kind, "application/") &&
		!strings.HasPrefix(kind, "application/grpc") && !strings.HasPrefix(kind, "application/connect+")
}

// Read gives the handler the message's bytes and holds them against the budget.
func (b *body) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	n, err := b.message.Read(p)
	if !b.budget.take(int64(n)) {
		n, err = 0, exhausted("the requests in flight take more than %d bytes together; try again", b.budget.max)
	}
	b.held += int64(n)
	if err != nil && err != io.EOF {
		b.failed = err
		b.drain()
	}
	return n, err
}

// A wireReader reads what comes from the connection, within the limit of size and time.
type wireReader struct{ *body }

func (r wireReader) Read(p []byte) (int, error) {
	b := r.body
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.wire.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, tooLarge(b.limit)
	}
	switch {
	case err == nil:
	case err == io.EOF:
		b.clearDeadline()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = connect.NewError(connect.CodeDeadlineExceeded, fault.New(fault.KindDeadline, "the request's body did not arrive within %v", b.time))
	}
	return n, err
}

func (b *body) clearDeadline() {
	if b.control != nil {
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// drain takes what the client still sends, up to the size of a message: a client that writes its whole request before it
// reads would otherwise see a broken connection rather than the answer. Beyond that, the connection is closed.
func (b *body) drain() { _, _ = io.CopyN(io.Discard, b.wire, b.limit) }

func (b *body) Close() error { return b.wire.Close() }

// release gives back what the body held, when the handler is done with the message.
func (b *body) release() {
	b.budget.used.Add(-b.held)
	b.held = 0
	if b.inflated != nil {
		b.failed = http.ErrBodyReadAfterClose
		b.inflated.idle()
		inflaters.Put(b.inflated)
		b.inflated = nil
	}
}

func tooLarge(limit int64) error {
	return connect.NewError(connect.CodeResourceExhausted, fault.New(fault.KindTooLarge,
		"the request's message is over the limit of %d bytes; pass large data by reference (File, Dir, DataFrame)", limit))
}

func exhausted(format string, args ...any) error {
	return connect.NewError(connect.CodeResourceExhausted, fault.New(fault.KindExhausted, format, args...))
}

// damaged says what is wrong with a gzip body; errors that have a code already keep it.
func damaged(err error) error {
	var coded *connect.Error
	switch {
	case err == nil, err == io.EOF, errors.As(err, &coded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return connect.NewError(connect.CodeInvalidArgument, fault.New(fault.KindInvalid, "the request's gzip body is truncated"))
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), isCorrupt(err):
		return connect.NewError(connect.CodeInvalidArgument, fault.New(fault.KindInvalid, "the request's gzip body is damaged: %v", err))
	}
	return err
}
