package access_test

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/flyteidl2/auth"
	"biplane.dev/biplane/gen/flyteidl2/auth/authconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster"
	"biplane.dev/biplane/gen/flyteidl2/cluster/clusterconnect"
	"biplane.dev/biplane/gen/flyteidl2/common"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy/dataproxyconnect"
	"biplane.dev/biplane/gen/flyteidl2/workflow"
	"biplane.dev/biplane/gen/flyteidl2/workflow/workflowconnect"
	"biplane.dev/biplane/internal/data/objects"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest/localca"
)

// front is what the SDK meets at a front door, cut down to what shows how it treats TLS: uploads and downloads by signed URLs over
// the plane's own handler, a run that is only noted, and a token endpoint at another host and port.
type front struct {
	clusterconnect.UnimplementedClusterServiceHandler
	dataproxyconnect.UnimplementedDataProxyServiceHandler
	authconnect.UnimplementedAuthMetadataServiceHandler

	bucket   *objects.File
	signer   *objects.Signer
	ca       string       // file
	endpoint string       // host:port
	token    string       // URL
	asked    atomic.Int32 // for tokens

	runs *notedRuns
}

// notedRuns makes no run of what it is asked for.
type notedRuns struct {
	workflowconnect.UnimplementedRunServiceHandler

	mu   sync.Mutex
	made int
}

const goodToken = "a-token"

// newFront serves a gateway at https://localhost:PORT and a token endpoint at https://127.0.0.1:PORT2, under one private CA.
func newFront(t *testing.T) *front {
	t.Helper()
	folder := t.TempDir()
	ca, err := localca.Open(filepath.Join(folder, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := objects.OpenFile(filepath.Join(folder, "bucket"), objects.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	f := &front{bucket: bucket, signer: objects.NewSigner([]byte("0123456789abcdef0123456789abcdef"), "/objects/"), ca: filepath.Join(folder, "ca", link.CAFile), runs: &notedRuns{}}

	mux := http.NewServeMux()
	guarded := connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
			if request.Header().Get("Authorization") != "Bearer "+goodToken {
				return nil, connect.NewError(connect.CodeUnauthenticated, fmt.Errorf("no token"))
			}
			return next(ctx, request)
		}
	}))
	mux.Handle(authconnect.NewAuthMetadataServiceHandler(f))
	mux.Handle(clusterconnect.NewClusterServiceHandler(f, guarded))
	mux.Handle(dataproxyconnect.NewDataProxyServiceHandler(f, guarded))
	mux.Handle(workflowconnect.NewRunServiceHandler(f.runs, guarded))
	mux.Handle("/objects/", objects.NewHandler(bucket, f.signer, objects.HandlerOptions{MaxBody: 1 << 30, Idle: time.Minute, Total: time.Minute}))
	f.endpoint = "localhost:" + serveTLS(t, ca, folder, "localhost", mux)

	f.token = "https://127.0.0.1:" + serveTLS(t, ca, folder, "127.0.0.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		id, secret, _ := r.BasicAuth()
		if r.FormValue("grant_type") != "client_credentials" || id != "key" || secret != "secret" {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": goodToken, "token_type": "Bearer", "expires_in": 3600})
	})) + "/token"
	return f
}

func serveTLS(t *testing.T, ca *localca.CA, folder, host string, handler http.Handler) (port string) {
	t.Helper()
	leaf := filepath.Join(folder, "leaf-"+host)
	if err := ca.Server(leaf, host); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = tlsOf(t, leaf)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (f *front) GetOAuth2Metadata(context.Context, *auth.GetOAuth2MetadataRequest) (*auth.GetOAuth2MetadataResponse, error) {
	return &auth.GetOAuth2MetadataResponse{TokenEndpoint: f.token}, nil
}

func (f *front) GetPublicClientConfig(context.Context, *auth.GetPublicClientConfigRequest) (*auth.GetPublicClientConfigResponse, error) {
	return &auth.GetPublicClientConfigResponse{AuthorizationMetadataKey: "authorization"}, nil
}

func (f *front) SelectCluster(context.Context, *cluster.SelectClusterRequest) (*cluster.SelectClusterResponse, error) {
	return &cluster.SelectClusterResponse{}, nil
}

func (f *front) CreateUploadLocation(_ context.Context, request *dataproxy.CreateUploadLocationRequest) (*dataproxy.CreateUploadLocationResponse, error) {
	key, err := objects.NewKey("uploads", request.GetFilename())
	if err != nil {
		return nil, err
	}
	sum := [md5.Size]byte(request.GetContentMd5())
	path := f.signer.SignPut(key, objects.Upload{Expires: time.Now().Add(time.Minute), Size: -1, MD5: &sum})
	return &dataproxy.CreateUploadLocationResponse{SignedUrl: "https://" + f.endpoint + path, NativeUrl: f.bucket.URI(key)}, nil
}

// CreateDownloadLink leads to the first thing that was uploaded.
func (f *front) CreateDownloadLink(ctx context.Context, request *dataproxy.CreateDownloadLinkRequest) (*dataproxy.CreateDownloadLinkResponse, error) {
	key, err := objects.NewKey("uploads", request.GetActionAttemptId().GetActionId().GetName())
	if err != nil {
		return nil, err
	}
	link := "https://" + f.endpoint + f.signer.SignGet(key, time.Now().Add(time.Minute))
	return &dataproxy.CreateDownloadLinkResponse{PreSignedUrls: &dataproxy.PreSignedURLs{SignedUrl: []string{link}}}, nil
}

func (f *front) UploadInputs(context.Context, *dataproxy.UploadInputsRequest) (*dataproxy.UploadInputsResponse, error) {
	return &dataproxy.UploadInputsResponse{OffloadedInputData: &common.OffloadedInputData{Uri: "/in", InputsHash: "h"}}, nil
}

func (n *notedRuns) CreateRun(context.Context, *workflow.CreateRunRequest) (*workflow.CreateRunResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	id := &common.ActionIdentifier{Run: &common.RunIdentifier{Org: "local", Project: "p", Domain: "d", Name: "r1"}, Name: "a0"}
	return &workflow.CreateRunResponse{Run: &workflow.Run{Action: &workflow.Action{Id: id}}}, nil
}
