package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/rpc"
)

var errDisk = errors.New("disk /dev/secret")

// failing is a server whose handlers, unary and stream, end with what is sent to them.
func failing(t *testing.T) (b *bundle, unary, stream func(error) error) {
	t.Helper()
	errs := make(chan error, 1)
	b = setup(t, rpc.Config{},
		func(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			return nil, <-errs
		},
		func(context.Context, *actions.WatchForUpdatesRequest, *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
			return <-errs
		})
	unary = func(err error) error {
		errs <- err
		_, err = b.unary(t).SelectCluster(t.Context(), orgRequest("acme"))
		return err
	}
	stream = func(err error) error {
		errs <- err
		s, err := b.watch(t).WatchForUpdates(t.Context(), &actions.WatchForUpdatesRequest{})
		if err != nil {
			return err
		}
		defer s.Close()
		s.Receive()
		return s.Err()
	}
	return b, unary, stream
}

func TestErrorsBecomeCodes(t *testing.T) {
	t.Parallel()
	b, unary, stream := failing(t)
	kinds := map[fault.Kind]connect.Code{
		fault.KindInternal: connect.CodeInternal, fault.KindInvalid: connect.CodeInvalidArgument,
		fault.KindNotFound: connect.CodeNotFound, fault.KindExists: connect.CodeAlreadyExists,
		fault.KindPrecondition: connect.CodeFailedPrecondition, fault.KindAborted: connect.CodeAborted,
		fault.KindExhausted: connect.CodeResourceExhausted, fault.KindUnavailable: connect.CodeUnavailable,
		fault.KindDenied: connect.CodePermissionDenied, fault.KindUnsupported: connect.CodeUnimplemented,
		fault.KindTooLarge: connect.CodeResourceExhausted, fault.KindDeadline: connect.CodeDeadlineExceeded,
	}
	for kind := range fault.KindDeadline + 1 {
		code, ok := kinds[kind]
		if !ok {
			t.Errorf("kind %d has no code", kind)
		}
		err := fmt.Errorf("while reading: %w", &fault.Fault{Kind: kind, Field: "run.name", Message: "is strange", Cause: errDisk})
		for _, got := range []error{unary(err), stream(err)} {
			wantCode(t, got, code, "run.name: is strange")
			if strings.Contains(got.Error(), "secret") || strings.Contains(got.Error(), "while reading") {
				t.Errorf("the client sees the cause: %v", got)
			}
		}
	}
	if strings.Count(b.log.String(), errDisk.Error()) != 2*len(kinds) {
		t.Errorf("the log lacks causes:\n%s", b.log)
	}

	for name, test := range map[string]struct {
		err           error
		unary, stream connect.Code
	}{
		"unknown":             {errDisk, connect.CodeInternal, connect.CodeInternal},
		"unauthenticated":     {connect.NewError(connect.CodeUnauthenticated, errors.New("sign in")), connect.CodeUnauthenticated, connect.CodeUnauthenticated},
		"internal with words": {connect.NewError(connect.CodeInternal, errDisk), connect.CodeInternal, connect.CodeInternal},
		"from another server": {connect.NewWireError(connect.CodeNotFound, errDisk), connect.CodeInternal, connect.CodeInternal},
		// The request goes on, and something behind it was interrupted: never CANCELED, which says that the client left.
		"canceled within":      {fmt.Errorf("wait: %w", context.Canceled), connect.CodeUnavailable, connect.CodeUnavailable},
		"canceled by code":     {connect.NewError(connect.CodeCanceled, errDisk), connect.CodeUnavailable, connect.CodeUnavailable},
		"canceled cause":       {fault.Wrap(context.Canceled, fault.KindInternal, "cannot read"), connect.CodeUnavailable, connect.CodeUnavailable},
		"late":                 {fmt.Errorf("wait: %w", context.DeadlineExceeded), connect.CodeDeadlineExceeded, connect.CodeDeadlineExceeded},
		"of a kind of its own": {fault.New(200, "odd"), connect.CodeInternal, connect.CodeInternal},
	} {
		for how, got := range map[string]error{"unary": unary(test.err), "stream": stream(test.err)} {
			want := test.unary
			if how == "stream" {
				want = test.stream
			}
			if connect.CodeOf(got) != want || strings.Contains(got.Error(), "secret") {
				t.Errorf("%s, %s: %v, want %v", name, how, got, want)
			}
		}
	}
}

func TestUnknownErrorsAreFoundByRequestID(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{}, func(ctx context.Context, _ *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
		return nil, fmt.Errorf("request %s: %w", rpc.RequestID(ctx), errDisk)
	}, nil)
	for name, test := range map[string]struct {
		given string
		kept  bool
	}{
		"the client's":   {"flytesnacks-development-r1-a0-x", true},
		"none":           {"", false},
		"a line break":   {"a b", false},
		"far too long":   {strings.Repeat("a", 1000), false},
		"not ASCII text": {"é", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+selectCluster, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/proto")
			if test.given != "" {
				request.Header.Set("X-Request-Id", test.given)
			}
			response, err := client(t, false, nil).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			id := response.Header.Get("X-Request-Id")
			if (id == test.given) != test.kept || id == "" {
				t.Errorf("id %q for %q", id, test.given)
			}
			if log := b.log.String(); !strings.Contains(log, id) || !strings.Contains(log, errDisk.Error()) {
				t.Errorf("the log lacks %s:\n%s", id, log)
			}
		})
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{},
		func(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			panic("secret in a panic")
		},
		func(context.Context, *actions.WatchForUpdatesRequest, *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
			panic("secret in a stream")
		})
	call := b.unary(t)
	for range 2 {
		_, err := call.SelectCluster(t.Context(), orgRequest("acme"))
		wantCode(t, err, connect.CodeInternal, "request id")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the client sees the panic: %v", err)
		}
	}
	stream, err := b.watch(t).WatchForUpdates(t.Context(), &actions.WatchForUpdatesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	stream.Receive()
	wantCode(t, stream.Err(), connect.CodeInternal, "request id")
	if log := b.log.String(); !strings.Contains(log, "secret in a panic") || !strings.Contains(log, "secret in a stream") || !strings.Contains(log, "errors_test.go") {
		t.Errorf("the log lacks the panic or its stack:\n%s", log)
	}
	if panics := b.metric(t, "biplane_rpc_requests_total", "panic"); panics != 3 {
		t.Errorf("%v panics counted, want 3", panics)
	}
}
