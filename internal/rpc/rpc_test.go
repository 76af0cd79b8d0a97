package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"biplane.dev/biplane/gen/flyteidl2/actions"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/gen/flyteidl2/cluster/clusterconnect"
	"biplane.dev/biplane/internal/rpc"
)

const selectCluster = clusterconnect.ClusterServiceSelectClusterProcedure

// A unary is the handler of SelectCluster in a test.
type unary func(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error)

func (f unary) SelectCluster(ctx context.Context, request *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
	return f(ctx, request)
}

// A watch is the handler of WatchForUpdates in a test.
type watch func(context.Context, *actions.WatchForUpdatesRequest, *connect.ServerStream[actions.WatchForUpdatesResponse]) error

type watchService struct {
	actionsconnect.UnimplementedActionsServiceHandler
	watch
}

func (s watchService) WatchForUpdates(ctx context.Context, r *actions.WatchForUpdatesRequest, stream *connect.ServerStream[actions.WatchForUpdatesResponse]) error {
	return s.watch(ctx, r, stream)
}

// echo answers with the length of the one field that SelectCluster's request surely has room in.
func echo(_ context.Context, request *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
	return &cluster.SelectClusterResponse{Cluster: request.GetOrgId().GetName()}, nil
}

// A bundle is a running server and all that a test asks of it.
type bundle struct {
	*rpc.Server
	address string
	url     string
	metrics *prometheus.Registry
	log     *buffer
	stop    context.CancelFunc
	stopped chan error
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func setup(t *testing.T, config rpc.Config, unary unary, watch watch) *bundle {
	t.Helper()
	b := &bundle{metrics: prometheus.NewRegistry(), log: &buffer{}, stopped: make(chan error, 1)}
	config.Metrics = b.metrics
	config.Log = slog.New(slog.NewTextHandler(b.log, nil))
	var err error
	if b.Server, err = rpc.New(config); err != nil {
		t.Fatal(err)
	}
	if unary != nil {
		b.Handle(clusterconnect.NewClusterServiceHandler(unary, b.Options()...))
	}
	if watch != nil {
		b.Handle(actionsconnect.NewActionsServiceHandler(watchService{watch: watch}, b.Options()...))
	}
	b.serve(t, config.TLS != nil)
	return b
}

func (b *bundle) serve(t *testing.T, secure bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = listener.Addr().String()
	b.url = "http://" + b.address
	if secure {
		b.url = "https://" + b.address
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	go func() { b.stopped <- b.Serve(ctx, listener) }()
	t.Cleanup(func() {
		b.stop()
		select {
		case err := <-b.stopped:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server did not stop")
		}
	})
}

// client is an HTTP client with connections of its own, of one version of HTTP.
func client(t *testing.T, http2 bool, config *tls.Config) *http.Client {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: &protocols, TLSClientConfig: config.Clone(), DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (b *bundle) unary(t *testing.T, options ...connect.ClientOption) clusterconnect.ClusterServiceClient {
	t.Helper()
	return clusterconnect.NewClusterServiceClient(client(t, false, nil), b.url, options...)
}

func (b *bundle) watch(t *testing.T, options ...connect.ClientOption) actionsconnect.ActionsServiceClient {
	t.Helper()
	return actionsconnect.NewActionsServiceClient(client(t, false, nil), b.url, options...)
}

// post sends a body as it is, and returns the answer.
func (b *bundle) post(t *testing.T, path string, body io.Reader, headers ...string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := client(t, false, nil).Do(request)
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

// metric is the sum of the values of a metric over the series that have these label values.
func (b *bundle) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			if hasLabels(series, labels) {
				sum += series.GetCounter().GetValue() + series.GetGauge().GetValue() + float64(series.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func hasLabels(series *dto.Metric, values []string) bool {
	have := map[string]bool{}
	for _, label := range series.GetLabel() {
		have[label.GetValue()] = true
	}
	for _, value := range values {
		if !have[value] {
			return false
		}
	}
	return true
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
		time.Sleep(time.Millisecond) // polling
	}
}

func wantCode(t *testing.T, err error, code connect.Code, words ...string) {
	t.Helper()
	if connect.CodeOf(err) != code || err == nil {
		t.Fatalf("error %v, want code %v", err, code)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
}
