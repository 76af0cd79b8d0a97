package rpc

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"connectrpc.com/connect"
)

// interceptor is the innermost part of the server and the outermost of the handlers' interceptors: it turns what a
// handler returns or panics into an answer, and counts.
type interceptor struct{ *Server }

func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (response connect.AnyResponse, err error) {
		start := time.Now()
		defer func() { err = i.end(ctx, request.Spec(), start, err, recover()) }()
		return next(ctx, request)
	}
}

func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		start := time.Now()
		defer func() { err = i.end(ctx, conn.Spec(), start, err, recover()) }()
		return next(ctx, &paced{StreamingHandlerConn: conn, call: callOf(ctx), server: i.Server})
	}
}

// WrapStreamingClient leaves clients alone: the interceptor is for handlers.
func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// end is the error that goes to the client.
func (i interceptor) end(ctx context.Context, spec connect.Spec, start time.Time, err error, panicked any) error {
	if panicked == http.ErrAbortHandler {
		panic(panicked)
	}
	c := callOf(ctx)
	if c == nil {
		panic("rpc: " + spec.Procedure + " is not mounted with Handle")
	}
	answer := answer{outcome: "ok"}
	switch {
	case panicked != nil:
		answer = hidden(ctx)
		answer.outcome = "panic"
		i.config.Log.Error("rpc: a handler panicked", "procedure", spec.Procedure, "request_id", c.requestID,
			"panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
	case err != nil:
		answer = answerFor(ctx, err, spec.StreamType != connect.StreamTypeUnary)
		if answer.log {
			i.config.Log.Log(ctx, answer.level, "rpc: a request failed", "procedure", spec.Procedure,
				"request_id", c.requestID, "code", answer.err.Code().String(), "err", withCause(err))
		}
	}
	c.outcome = answer.outcome
	i.metrics.ended(c.procedure, answer.outcome, time.Since(start))
	if answer.err == nil {
		return nil // not a nil *connect.Error in an error
	}
	return answer.err
}

// paced is a stream on which no message waits longer than SendTime for a client that does not read.
type paced struct {
	connect.StreamingHandlerConn
	call   *call
	server *Server
}

func (p *paced) Send(message any) error {
	_ = p.call.control.SetWriteDeadline(time.Now().Add(p.server.config.Limits.SendTime))
	if err := p.StreamingHandlerConn.Send(message); err != nil {
		return err // the deadline stays, so that what connect-go still writes fails at once too
	}
	p.server.metrics.sent(p.call.procedure)
	// HTTP/2 would reset the stream when the time is over, though nothing is being written.
	_ = p.call.control.SetWriteDeadline(time.Time{})
	return nil
}
