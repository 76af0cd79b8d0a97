package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/internal/rpc"
)

// untilDone is a stream that sends one message and goes on until its context ends.
func untilDone(ended chan<- error) watch {
	return func(ctx context.Context, _ *actions.WatchForUpdatesRequest, stream *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
		if err := stream.Send(update("first")); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return fmt.Errorf("watch: %w", ctx.Err())
	}
}

// The SDK's informer stops for good at CANCELED, so a server that stops must never say so.
func TestStopEndsStreamsWithUnavailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		http2   bool
		options []connect.ClientOption
	}{
		"connect,http1": {false, nil},
		"connect,http2": {true, nil},
		"grpc":          {true, []connect.ClientOption{connect.WithGRPC()}},
		"grpc-web":      {false, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			b := setup(t, rpc.Config{}, nil, untilDone(ended))
			stream, err := actionsconnect.NewActionsServiceClient(client(t, test.http2, nil), b.url, test.options...).
				WatchForUpdates(t.Context(), &actions.WatchForUpdatesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			b.stop()
			if stream.Receive() {
				t.Fatal("a message after the stop")
			}
			wantCode(t, stream.Err(), connect.CodeUnavailable, "stopping")
			<-ended
			eventually(t, "the outcome in the metrics", func() bool { return b.metric(t, "biplane_rpc_requests_total", "stopped") == 1 })
		})
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	b := setup(t, rpc.Config{Limits: rpc.Limits{Grace: time.Minute}},
		func(ctx context.Context, _ *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			close(entered)
			<-leave
			return &cluster.SelectClusterResponse{}, ctx.Err()
		}, nil)
	answered := make(chan error, 1)
	go func() {
		_, err := b.unary(t).SelectCluster(context.Background(), orgRequest("acme"))
		answered <- err
	}()
	<-entered
	b.stop()
	eventually(t, "the listener to close", func() bool {
		conn, err := net.Dial("tcp", b.address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the request in flight: %v", err)
	}
}

func TestStopDoesNotWaitBeyondTheGrace(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	b := setup(t, rpc.Config{Limits: rpc.Limits{Grace: time.Millisecond}},
		func(ctx context.Context, _ *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil)
	go func() { _, _ = b.unary(t).SelectCluster(context.Background(), orgRequest("acme")) }()
	<-entered
	b.stop() // the cleanup waits for the server to end
}

// Over HTTP/1.1 a handler learns only from the connection that its client left.
func TestClientThatLeavesEndsItsStream(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			b := setup(t, rpc.Config{}, nil, untilDone(ended))
			ctx, leave := context.WithCancel(t.Context())
			stream, err := actionsconnect.NewActionsServiceClient(client(t, http2, nil), b.url).WatchForUpdates(ctx, &actions.WatchForUpdatesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			leave()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("cause %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the stream goes on")
			}
			eventually(t, "the outcome in the metrics", func() bool { return b.metric(t, "biplane_rpc_requests_total", "canceled") == 1 })
		})
	}
}

func TestMountErrorsAreErrorsOfTheProgram(t *testing.T) {
	t.Parallel()
	server, err := rpc.New(rpc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/healthz", "", "/", "a", "/a/b/"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was mounted", path)
				}
			}()
			server.HandleHTTP(path, http.NotFoundHandler())
		}()
	}
}
