package rpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/internal/rpc"
)

// envelope frames a message as gRPC and Connect's streams do.
func envelope(flags byte, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(data))), data...)
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	called := make(chan string, 100)
	b := setup(t, rpc.Config{},
		func(_ context.Context, r *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			called <- r.String()
			return &cluster.SelectClusterResponse{}, nil
		}, nil)
	message := marshal(t, orgRequest(strings.Repeat("acme", 100)))
	whole := gzipped(t, message)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)/2] ^= 0xff
	malformed := []byte{0x0a, 0xff, 0xff}
	for name, test := range map[string]struct {
		body    []byte
		headers string
		status  int
		text    string
	}{
		"malformed":             {malformed, "Content-Type: application/proto", 400, "invalid_argument"},
		"malformed JSON":        {[]byte(`{"org_id":`), "Content-Type: application/json", 400, "invalid_argument"},
		"malformed in gzip":     {gzipped(t, malformed), "Content-Type: application/proto|Content-Encoding: gzip", 400, "invalid_argument"},
		"truncated":             {whole[:len(whole)-9], "Content-Type: application/proto|Content-Encoding: gzip", 400, "truncated"},
		"truncated in header":   {whole[:5], "Content-Type: application/proto|Content-Encoding: gzip", 400, "truncated"},
		"damaged":               {damaged, "Content-Type: application/proto|Content-Encoding: gzip", 400, "invalid_argument"},
		"unknown compression":   {message, "Content-Type: application/proto|Content-Encoding: brotli", 501, "unimplemented"},
		"wrong type":            {message, "Content-Type: text/plain", 415, ""},
		"no type":               {message, "X-Nothing: 1", 415, ""},
		"stream's type":         {message, "Content-Type: application/connect+proto", 415, ""},
		"truncated in envelope": {envelope(1, whole[:len(whole)-9]), "Content-Type: application/grpc-web+proto", 200, ""},
		"damaged in envelope":   {envelope(1, damaged), "Content-Type: application/grpc-web+proto", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, text := b.post(t, selectCluster, bytes.NewReader(test.body), strings.Split(test.headers, "|")...)
			if status != test.status || !strings.Contains(text, test.text) {
				t.Errorf("%d %q, want %d %q", status, text, test.status, test.text)
			}
			select {
			case request := <-called:
				t.Errorf("the handler was called with %s", request)
			default:
			}
		})
	}
}

// eachClient runs a test with the options of a client of each protocol, with and without compression.
func (b *bundle) eachClient(t *testing.T, test func(*testing.T, []connect.ClientOption)) {
	for protocol, options := range map[string][]connect.ClientOption{"connect": nil, "grpc-web": {connect.WithGRPCWeb()}} {
		for _, compressed := range []bool{false, true} {
			options := append([]connect.ClientOption{}, options...)
			if compressed {
				options = append(options, connect.WithSendGzip())
			}
			t.Run(fmt.Sprintf("%s,gzip=%v", protocol, compressed), func(t *testing.T) { test(t, options) })
		}
	}
}

func TestBodyOverTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	b := setup(t, rpc.Config{Limits: rpc.Limits{MessageBytes: limit}}, echo, nil)
	const fits = limit - 8 // the tags and lengths of the two messages around the name
	random := make([]byte, 4<<20)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	b.eachClient(t, func(t *testing.T, options []connect.ClientOption) {
		call := b.unary(t, options...)
		request := orgRequest("")
		for _, name := range []string{strings.Repeat("a", 5<<20), base64.StdEncoding.EncodeToString(random)} {
			for size, code := range map[int]connect.Code{fits: 0, fits + 16: connect.CodeResourceExhausted, len(name): connect.CodeResourceExhausted} {
				request.GetOrgId().Name = name[:size]
				response, err := call.SelectCluster(t.Context(), request)
				switch {
				case code != 0 && len(options) > 0:
					wantCode(t, err, code) // connect-go's words, when it measures
				case code != 0:
					wantCode(t, err, code, "over the limit of 1048576 bytes", "by reference")
				case err != nil:
					t.Errorf("%d bytes: %v", size, err)
				case len(response.GetCluster()) != size:
					t.Errorf("%d bytes came back as %d", size, len(response.GetCluster()))
				}
			}
		}
	})
	if held := b.metric(t, "biplane_rpc_body_bytes"); held != 0 {
		t.Errorf("%v bytes are held with no request in flight", held)
	}
}

func TestLimitOfOneMethod(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{
		Limits:       rpc.Limits{MessageBytes: 1 << 10},
		MessageBytes: map[string]int64{selectCluster: 32 << 20},
	}, echo, func(context.Context, *actions.WatchForUpdatesRequest, *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
		return nil
	})
	b.eachClient(t, func(t *testing.T, options []connect.ClientOption) {
		// Inputs over 10 MiB pass where the method says so.
		large := strings.Repeat("large", 5<<19)
		response, err := b.unary(t, options...).SelectCluster(t.Context(), orgRequest(large))
		if err != nil || response.GetCluster() != large {
			t.Fatal(err)
		}
	})
	// Other methods keep the limit, the request of a stream too.
	status, text := b.post(t, actionsconnect.ActionsServiceWatchForUpdatesProcedure, bytes.NewReader(envelope(0, make([]byte, 1<<20))),
		"Content-Type: application/connect+proto")
	if status != http.StatusOK || !strings.Contains(text, "resource_exhausted") {
		t.Errorf("a stream's request over the limit: %d %q", status, text)
	}
}

// bomb is a gigabyte of zeros in a megabyte of gzip: a member of a megabyte, a thousand times.
func bomb(t *testing.T) []byte {
	t.Helper()
	return bytes.Repeat(gzipped(t, make([]byte, 1<<20)), 1<<10)
}

// Not parallel: it measures the memory of the process.
func TestGzipBomb(t *testing.T) {
	b := setup(t, rpc.Config{}, echo, nil)
	body := bomb(t)
	for name, test := range map[string]struct {
		body    []byte
		headers []string
		status  int
		text    string
	}{
		"connect":  {body, []string{"Content-Type: application/proto", "Content-Encoding: gzip"}, http.StatusTooManyRequests, "resource_exhausted"},
		"envelope": {envelope(1, body), []string{"Content-Type: application/grpc-web+proto"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			status, text := b.post(t, selectCluster, bytes.NewReader(test.body), test.headers...)
			runtime.ReadMemStats(&after)
			if status != test.status || !strings.Contains(text, test.text) {
				t.Errorf("%d %q", status, text)
			}
			// A buffer that grows by doubling to 16 MiB leaves about four times that behind.
			if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 128 {
				t.Errorf("%d MiB were allocated", grown)
			}
		})
	}
	if refused := b.metric(t, "biplane_rpc_requests_total", "refused"); refused != 2 {
		t.Errorf("%v requests were refused, want 2", refused)
	}
}

func TestMemoryOfAllBodies(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	b := setup(t, rpc.Config{Limits: rpc.Limits{BodyBytes: 3 << 20}},
		func(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			entered <- struct{}{}
			<-leave
			return &cluster.SelectClusterResponse{}, nil
		}, nil)
	large := orgRequest(strings.Repeat("a", 2<<20))
	first := make(chan error, 1)
	go func() {
		_, err := b.unary(t, connect.WithSendGzip()).SelectCluster(context.Background(), large)
		first <- err
	}()
	<-entered
	for _, options := range [][]connect.ClientOption{nil, {connect.WithSendGzip()}} {
		_, err := b.unary(t, options...).SelectCluster(t.Context(), large)
		wantCode(t, err, connect.CodeResourceExhausted, "try again")
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	eventually(t, "the memory to be given back", func() bool { return b.metric(t, "biplane_rpc_body_bytes") == 0 })
}

func TestOverload(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	hold := func() { entered <- struct{}{}; <-leave }
	b := setup(t, rpc.Config{Limits: rpc.Limits{Unary: 1, Streams: 1}},
		func(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			hold()
			return &cluster.SelectClusterResponse{}, nil
		},
		func(context.Context, *actions.WatchForUpdatesRequest, *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
			hold()
			return nil
		})
	unary := func() error {
		_, err := b.unary(t).SelectCluster(context.Background(), orgRequest("acme"))
		return err
	}
	watch := func() error {
		stream, err := b.watch(t).WatchForUpdates(context.Background(), &actions.WatchForUpdatesRequest{})
		if err != nil {
			return err
		}
		defer stream.Close()
		for stream.Receive() {
		}
		return stream.Err()
	}
	done := make(chan error, 2)
	go func() { done <- unary() }()
	go func() { done <- watch() }()
	<-entered
	<-entered
	wantCode(t, unary(), connect.CodeResourceExhausted)
	wantCode(t, watch(), connect.CodeResourceExhausted)
	close(leave)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "room again", func() bool {
		return b.metric(t, "biplane_rpc_unary_in_flight")+b.metric(t, "biplane_rpc_streams_open") == 0
	})
	if refused := b.metric(t, "biplane_rpc_requests_total", "overload"); refused != 2 {
		t.Errorf("%v counted as overload, want 2", refused)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestThousandIdleConnections(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{}, echo, nil)
	for range 1000 {
		dial(t, b.address)
	}
	eventually(t, "1,000 connections", func() bool { return b.metric(t, "biplane_rpc_connections") >= 1000 })
	if _, err := b.unary(t).SelectCluster(t.Context(), orgRequest("acme")); err != nil {
		t.Error(err)
	}
}

func TestConnectionsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]rpc.Limits{
		"idle":  {IdleConnections: 10, Connections: 100},
		"total": {Connections: 11},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, leave := make(chan struct{}), make(chan struct{})
			b := setup(t, rpc.Config{Limits: limits},
				func(_ context.Context, r *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
					if r.GetOrgId().GetName() == "hold" {
						close(entered)
						<-leave
					}
					return &cluster.SelectClusterResponse{}, nil
				}, nil)
			held := make(chan error, 1)
			go func() {
				_, err := b.unary(t).SelectCluster(context.Background(), orgRequest("hold"))
				held <- err
			}()
			<-entered
			oldest := dial(t, b.address)
			for range 30 {
				dial(t, b.address)
			}
			// The connection that says nothing for longest goes first …
			if err := oldest.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := oldest.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("the oldest connection: %v", err)
			}
			eventually(t, "the rest to go", func() bool { return b.metric(t, "biplane_rpc_connections") <= 11 })
			// … never one that is being served, and there is room for who comes.
			if _, err := b.unary(t).SelectCluster(t.Context(), orgRequest("acme")); err != nil {
				t.Error(err)
			}
			close(leave)
			if err := <-held; err != nil {
				t.Errorf("the request in flight: %v", err)
			}
		})
	}
}

// drip writes a byte at a time until the server hangs up.
func drip(t *testing.T, conn net.Conn, start string, b byte) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, start); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		closed <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-closed:
			if err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error("the server never hung up")
			}
			return
		case <-tick.C:
			_, _ = conn.Write([]byte{b})
		}
	}
}

func TestDrips(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{Limits: rpc.Limits{HeaderTime: 100 * time.Millisecond, BodyTime: 100 * time.Millisecond, IdleTime: 100 * time.Millisecond}}, echo, nil)
	for name, start := range map[string]string{
		"header": "POST " + selectCluster + " HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST " + selectCluster + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/proto\r\nContent-Length: 100000\r\n\r\n",
		"h2":     "PRI * HTTP/2.0\r\n\r\nS",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drip(t, dial(t, b.address), start, 'M')
		})
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, b.address)
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a connection that says nothing: %v", err)
		}
	})
}

func TestHeaderOverTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{}, echo, nil)
	status, _ := b.post(t, selectCluster, nil, "Content-Type: application/proto", "X-Long: "+strings.Repeat("a", 1<<20))
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}

// A client that opens a stream and does not read must not hold the handler for ever.
func TestStreamThatNobodyReads(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	b := setup(t, rpc.Config{Limits: rpc.Limits{SendTime: 100 * time.Millisecond}}, nil,
		func(_ context.Context, _ *actions.WatchForUpdatesRequest, stream *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
			for {
				if err := stream.Send(update(strings.Repeat("a", 64<<10))); err != nil {
					ended <- err
					return err
				}
			}
		})
	conn := dial(t, b.address)
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/connect+proto\r\nContent-Length: 5\r\n\r\n%s",
		actionsconnect.ActionsServiceWatchForUpdatesProcedure, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler is held")
	}
	eventually(t, "the connection to go", func() bool { return b.metric(t, "biplane_rpc_connections") == 0 })
}
