package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/gen/flyteidl2/cluster/clusterconnect"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/internal/rpc"
)

func orgRequest(name string) *cluster.SelectClusterRequest {
	return &cluster.SelectClusterRequest{Resource: &cluster.SelectClusterRequest_OrgId{OrgId: &common.OrgIdentifier{Name: name}}}
}

func update(name string) *actions.WatchForUpdatesResponse {
	return &actions.WatchForUpdatesResponse{Message: &actions.WatchForUpdatesResponse_ActionUpdate{
		ActionUpdate: &workflow.ActionUpdate{OutputUri: name},
	}}
}

func marshal(t *testing.T, message proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// testTLS is a certificate for 127.0.0.1 and a client's configuration that trusts it.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	maker := httptest.NewUnstartedServer(nil)
	maker.StartTLS()
	defer maker.Close()
	pool := x509.NewCertPool()
	pool.AddCert(maker.Certificate())
	return &tls.Config{Certificates: maker.TLS.Certificates, MinVersion: tls.VersionTLS12}, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// Every protocol over every transport: a unary call, compressed, and a stream of which each message arrives before the
// next one is sent.
func TestProtocols(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := testTLS(t)
	protocols := map[string][]connect.ClientOption{
		"connect":  nil,
		"json":     {connect.WithProtoJSON()},
		"grpc":     {connect.WithGRPC()},
		"grpc-web": {connect.WithGRPCWeb()},
	}
	for _, secure := range []bool{false, true} {
		for _, http2 := range []bool{false, true} {
			for name, options := range protocols {
				if name == "grpc" && !http2 {
					continue // gRPC needs HTTP/2
				}
				t.Run(fmt.Sprintf("%s,http2=%v,tls=%v", name, http2, secure), func(t *testing.T) {
					t.Parallel()
					arrived := make(chan struct{})
					config := rpc.Config{}
					if secure {
						config.TLS = serverTLS
					}
					unary := func(ctx context.Context, r *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
						if (rpc.PeerTLS(ctx) != nil) != secure {
							return nil, errors.New("the handler does not see how the client came")
						}
						return echo(ctx, r)
					}
					b := setup(t, config, unary, func(ctx context.Context, _ *actions.WatchForUpdatesRequest, stream *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
						for i := range 3 {
							if err := stream.Send(update(fmt.Sprint(i))); err != nil {
								return err
							}
							select {
							case <-arrived:
							case <-ctx.Done():
								return ctx.Err()
							}
						}
						return nil
					})
					options := append([]connect.ClientOption{connect.WithSendGzip()}, options...)
					httpClient := client(t, http2, clientTLS)

					long := strings.Repeat("é", 100_000)
					response, err := clusterconnect.NewClusterServiceClient(httpClient, b.url, options...).SelectCluster(t.Context(), orgRequest(long))
					if err != nil || response.GetCluster() != long {
						t.Fatalf("unary: %v", err)
					}
					stream, err := actionsconnect.NewActionsServiceClient(httpClient, b.url, options...).WatchForUpdates(t.Context(), &actions.WatchForUpdatesRequest{})
					if err != nil {
						t.Fatal(err)
					}
					defer stream.Close()
					for i := range 3 {
						if !stream.Receive() || stream.Msg().GetActionUpdate().GetOutputUri() != fmt.Sprint(i) {
							t.Fatalf("message %d: %v, %v", i, stream.Msg(), stream.Err())
						}
						arrived <- struct{}{}
					}
					if stream.Receive() || stream.Err() != nil {
						t.Fatalf("end of stream: %v", stream.Err())
					}
				})
			}
		}
	}
}

// The stock SDK says Content-Encoding: gzip on every body, and not every such body is gzip.
func TestBodyThatOnlySaysGzip(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{}, echo, nil)
	message := marshal(t, orgRequest("acme"))
	for name, test := range map[string]struct {
		body []byte
		want string
	}{
		"gzip":          {gzipped(t, message), "acme"},
		"gzip members":  {append(gzipped(t, message), gzipped(t, nil)...), "acme"},
		"plain":         {message, "acme"},
		"empty":         {nil, ""},
		"gzip of empty": {gzipped(t, nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []io.Reader{bytes.NewReader(test.body), io.MultiReader(bytes.NewReader(test.body))} { // with and without a length
				status, text := b.post(t, selectCluster, body, "Content-Type: application/proto", "Content-Encoding: gzip")
				var response cluster.SelectClusterResponse
				if err := proto.Unmarshal([]byte(text), &response); status != http.StatusOK || err != nil || response.GetCluster() != test.want {
					t.Fatalf("%d %q", status, text)
				}
			}
		})
	}
}

func TestTimeoutOfTheClientIsHonoured(t *testing.T) {
	t.Parallel()
	waiting := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Second):
			return nil
		}
	}
	b := setup(t, rpc.Config{},
		func(ctx context.Context, _ *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
			return &cluster.SelectClusterResponse{}, waiting(ctx)
		},
		func(ctx context.Context, _ *actions.WatchForUpdatesRequest, _ *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
			return waiting(ctx)
		})
	status, text := b.post(t, selectCluster, nil, "Content-Type: application/proto", "Connect-Timeout-Ms: 20")
	if status != http.StatusGatewayTimeout || !strings.Contains(text, "deadline_exceeded") {
		t.Errorf("unary: %d %q", status, text)
	}
	status, text = b.post(t, actionsconnect.ActionsServiceWatchForUpdatesProcedure, bytes.NewReader(make([]byte, 5)),
		"Content-Type: application/connect+proto", "Connect-Timeout-Ms: 20")
	if status != http.StatusOK || !strings.Contains(text, "deadline_exceeded") {
		t.Errorf("stream: %d %q", status, text)
	}
	status, _ = b.post(t, selectCluster, nil, "Content-Type: application/proto", "Connect-Timeout-Ms: soon")
	if status != http.StatusBadRequest {
		t.Errorf("malformed timeout: %d", status)
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	b := setup(t, rpc.Config{}, echo, nil)
	for name, options := range map[string][]connect.ClientOption{
		"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			httpClient := client(t, true, nil)
			for _, path := range []string{"/flyteidl2.app.AppService/Create", "/flyteidl2.cluster.ClusterService/Conquer"} {
				call := connect.NewClient[cluster.SelectClusterRequest, cluster.SelectClusterResponse](httpClient, b.url+path, options...)
				_, err := call.CallUnary(t.Context(), connect.NewRequest(orgRequest("acme")))
				wantCode(t, err, connect.CodeUnimplemented, path)
			}
			stream, err := actionsconnect.NewActionsServiceClient(httpClient, b.url, options...).WatchForUpdates(t.Context(), &actions.WatchForUpdatesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			stream.Receive()
			wantCode(t, stream.Err(), connect.CodeUnimplemented)
		})
	}
	response, err := client(t, false, nil).Get(b.url + "/index.html")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("a browser sees %d", response.StatusCode)
	}
}

func TestHealthReflectionAndMetrics(t *testing.T) {
	t.Parallel()
	notReady := make(chan error, 1)
	b := setup(t, rpc.Config{Ready: func(context.Context) error {
		select {
		case err := <-notReady:
			return err
		default:
			return nil
		}
	}}, echo, nil)
	get := func(path string) (int, string) {
		t.Helper()
		response, err := client(t, false, nil).Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		data, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(data)
	}
	if status, text := get("/healthz"); status != 200 || text != "ok\n" {
		t.Errorf("healthz: %d %q", status, text)
	}
	if status, _ := get("/readyz"); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	notReady <- errors.New("the journal is full")
	if status, text := get("/readyz"); status != 503 || !strings.Contains(text, "journal") {
		t.Errorf("readyz when not ready: %d %q", status, text)
	}

	check := grpchealth.NewClient(client(t, true, nil), b.url, connect.WithGRPC())
	for service, want := range map[string]grpchealth.Status{"": grpchealth.StatusServing, clusterconnect.ClusterServiceName: grpchealth.StatusServing} {
		response, err := check.Check(t.Context(), &grpchealth.CheckRequest{Service: service})
		if err != nil || response.Status != want {
			t.Errorf("health of %q: %v %v", service, response, err)
		}
	}
	_, err := check.Check(t.Context(), &grpchealth.CheckRequest{Service: "nobody"})
	wantCode(t, err, connect.CodeNotFound)
	notReady <- errors.New("no")
	if response, err := check.Check(t.Context(), &grpchealth.CheckRequest{}); err != nil || response.Status != grpchealth.StatusNotServing {
		t.Errorf("health when not ready: %v %v", response, err)
	}

	reflection := grpcreflect.NewClient(client(t, true, nil), b.url, connect.WithGRPC()).NewStream(t.Context())
	defer reflection.Close()
	names, err := reflection.ListServices()
	if err != nil || len(names) != 1 || names[0] != protoreflect.FullName(clusterconnect.ClusterServiceName) {
		t.Errorf("reflected services: %v %v", names, err)
	}
	if files, err := reflection.FileContainingSymbol(clusterconnect.ClusterServiceName); err != nil || len(files) == 0 {
		t.Errorf("reflected files: %d %v", len(files), err)
	}

	if _, err := b.unary(t).SelectCluster(t.Context(), orgRequest("acme")); err != nil {
		t.Fatal(err)
	}
	if status, text := get("/metrics"); status != 200 ||
		!strings.Contains(text, `biplane_rpc_requests_total{outcome="ok",procedure="`+selectCluster+`",server="main"} 1`) {
		t.Errorf("metrics: %d %s", status, text)
	}
}

func TestPlainHTTPBesideRPC(t *testing.T) {
	t.Parallel()
	b := &bundle{stopped: make(chan error, 1)}
	var err error
	if b.Server, err = rpc.New(rpc.Config{}); err != nil {
		t.Fatal(err)
	}
	b.HandleHTTP("/bucket/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	b.serve(t, false)
	// The handler sees the path as it was asked for, so that it can refuse it, not one that was cleaned on the way.
	if status, text := b.post(t, "/bucket/a/%2e%2e//b", nil); status != 200 || text != "/bucket/a/..//b" {
		t.Errorf("%d %q", status, text)
	}
}
