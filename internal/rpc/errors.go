package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"connectrpc.com/connect"

	"biplane.dev/biplane/internal/fault"
)

// codes is the one place that gives a kind of fault its code.
var codes = map[fault.Kind]connect.Code{
	fault.KindInternal:     connect.CodeInternal,
	fault.KindInvalid:      connect.CodeInvalidArgument,
	fault.KindNotFound:     connect.CodeNotFound,
	fault.KindExists:       connect.CodeAlreadyExists,
	fault.KindPrecondition: connect.CodeFailedPrecondition,
	fault.KindAborted:      connect.CodeAborted,
	fault.KindExhausted:    connect.CodeResourceExhausted,
	fault.KindUnavailable:  connect.CodeUnavailable,
	fault.KindDenied:       connect.CodePermissionDenied,
	fault.KindUnsupported:  connect.CodeUnimplemented,
	fault.KindTooLarge:     connect.CodeResourceExhausted,
	fault.KindDeadline:     connect.CodeDeadlineExceeded,
}

// errStopping is the cause with which the server ends a stream when it stops.
var errStopping = fault.New(fault.KindUnavailable, "the server is stopping; try again")

// An answer is what becomes of a handler's error: the error for the client, and how loud the log is about the cause.
type answer struct {
	err     *connect.Error
	outcome string // for the metrics
	log     bool
	level   slog.Level
}

// answerFor decides what a client is told of err, the error of an RPC with this context.
//
// A stream is never ended with CANCELED: the SDK's informer takes that for its own doing and stops silently (WIRE.md
// section 9, trap 7). A client that really left does not see the code anyway.
func answerFor(ctx context.Context, err error, stream bool) answer {
	var f *fault.Fault
	// An internal fault whose cause is that the request ended is not a broken machine.
	if errors.As(err, &f) && !(f.Kind == fault.KindInternal && interrupted(err)) {
		code, ok := codes[f.Kind]
		if !ok {
			code = connect.CodeInternal
		}
		a := answer{err: connect.NewError(code, errors.New(f.Error())), outcome: code.String(), log: f.Cause != nil, level: slog.LevelInfo}
		if code == connect.CodeInternal {
			a.err = connect.NewError(code, fmt.Errorf("%s (request id %s)", f.Error(), RequestID(ctx)))
			a.log, a.level = true, slog.LevelError
		}
		return a
	}
	var coded *connect.Error
	if errors.As(err, &coded) && !connect.IsWireError(coded) && passes(coded.Code()) {
		return answer{err: coded, outcome: coded.Code().String()}
	}
	switch {
	case isCanceled(err):
		switch {
		case errors.Is(context.Cause(ctx), errStopping):
			return unavailable(errStopping.Error(), "stopped")
		case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			return deadline()
		case ctx.Err() != nil && stream:
			return unavailable("the connection was closed", connect.CodeCanceled.String())
		case ctx.Err() != nil:
			return answer{err: connect.NewError(connect.CodeCanceled, errors.New("the client left")), outcome: connect.CodeCanceled.String()}
		}
		// Something that the handler waited for was cancelled, not the request.
		a := unavailable("interrupted; try again", connect.CodeUnavailable.String())
		a.log, a.level = true, slog.LevelWarn
		return a
	case errors.Is(err, context.DeadlineExceeded), coded != nil && coded.Code() == connect.CodeDeadlineExceeded:
		a := deadline()
		a.log, a.level = ctx.Err() == nil, slog.LevelWarn
		return a
	}
	return hidden(ctx)
}

// passes says which errors with a code of connect-go's own, or of a handler that needed a code without a kind, go out
// as they are. Cancelled and late ones are looked at more closely; unknown and internal ones are hidden.
func passes(code connect.Code) bool {
	switch code {
	case connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeUnknown, connect.CodeInternal:
		return false
	}
	return true
}

func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled
}

func unavailable(message, outcome string) answer {
	return answer{err: connect.NewError(connect.CodeUnavailable, errors.New(message)), outcome: outcome}
}

func deadline() answer {
	code := connect.CodeDeadlineExceeded
	return answer{err: connect.NewError(code, errors.New("the request took longer than it may")), outcome: code.String()}
}

// hidden is the answer to an error that nobody wrote for a client's eyes.
func hidden(ctx context.Context) answer {
	err := fmt.Errorf("internal error; see the plane's log, request id %s", RequestID(ctx))
	return answer{err: connect.NewError(connect.CodeInternal, err), outcome: connect.CodeInternal.String(), log: true, level: slog.LevelError}
}

// withCause is err in full for the log: a fault's own words leave its cause out.
func withCause(err error) string {
	text := err.Error()
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if f, ok := cause.(*fault.Fault); ok && f.Cause != nil {
			text += ": " + f.Cause.Error()
		}
	}
	return text
}
