package rpc

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// A gate lets so many through at a time and turns the rest away at once: a queue here would only hide the load from the
// engine, which has better ones.
type gate struct {
	max    int64
	inside atomic.Int64
}

func (g *gate) enter() bool {
	if g.inside.Add(1) > g.max {
		g.inside.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.inside.Add(-1) }

// A call is what the server knows of one RPC. The middleware makes it, the interceptor tells the outcome.
type call struct {
	procedure *procedure
	requestID string
	control   *http.ResponseController
	tls       *tls.ConnectionState // nil without TLS
	outcome   string               // empty until the handler ended
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID is the id of the RPC that ctx belongs to: the client's x-request-id or, without a sound one, one made here.
// It is in the response's header and in the log. Empty outside of an RPC.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.requestID
	}
	return ""
}

// PeerTLS is the state of the TLS connection that an RPC came on, nil without TLS: a handler reads the client's
// certificate from it.
func PeerTLS(ctx context.Context) *tls.ConnectionState {
	if c := callOf(ctx); c != nil {
		return c.tls
	}
	return nil
}

// maxRequestID is enough for the SDK's ids, which hold the names of project, domain, run and action.
const maxRequestID = 512

// requestID takes the client's id when it is printable ASCII of a sane length, so that it can go to the log as it is.
func requestID(header http.Header) string {
	id := header.Get("X-Request-Id")
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return rand.Text()
		}
	}
	return id
}

// admit is what every RPC passes before its handler: it must be of a mounted service and within the limits, and it gets
// an id, a bounded body and, when it is a stream, an end when the server stops.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := s.procedures[r.URL.Path]
		if p == nil {
			s.notServed(w, r)
			return
		}
		c := &call{procedure: p, requestID: requestID(r.Header), control: http.NewResponseController(w), tls: r.TLS}
		w.Header().Set("X-Request-Id", c.requestID)
		gate, what := &s.unary, "requests"
		if p.stream {
			gate, what = &s.streams, "streams"
		}
		if !gate.enter() {
			s.metrics.refused(p, "overload")
			s.refuse(w, r, fault.New(fault.KindExhausted, "more than %d %s at once; try again", gate.max, what))
			return
		}
		defer gate.leave()

		ctx := context.WithValue(r.Context(), callKey{}, c)
		if p.stream {
			stream, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			defer context.AfterFunc(s.stopping, func() { cancel(errStopping) })()
			ctx = stream
		}
		r = r.WithContext(ctx)
		if !p.sends {
			body := s.boundBody(r, c)
			defer body.release()
			r.Body = body
		}
		next.ServeHTTP(w, r)
		if c.outcome == "" {
			s.metrics.refused(p, "refused")
			return
		}
		// What is still to be written may not wait for ever for a client that does not read. HTTP/1.1 keeps the deadline
		// until the response is out, HTTP/2 until the stream is closed.
		_ = c.control.SetWriteDeadline(time.Now().Add(s.config.Limits.BodyTime))
	})
}
