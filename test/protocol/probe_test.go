package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/plane"
)

// probe calls a method with an empty message, as the SDK would (Connect, HTTP/1.1), and says whether somebody serves it:
// whatever else it answers to an empty message, it is not UNIMPLEMENTED. A stream that says nothing for a second is served.
func probe(ctx context.Context, endpoint string, method protoreflect.MethodDescriptor) (served bool, err error) {
	stream := method.IsStreamingClient() || method.IsStreamingServer()
	kind, body := "application/proto", []byte{}
	if stream {
		kind, body = "application/connect+proto", make([]byte, 5)
	}
	path := fmt.Sprintf("%s/%s/%s", endpoint, method.Parent().FullName(), method.Name())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Connect-Protocol-Version", "1")
	request.Header.Set("Connect-Timeout-Ms", "1000")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound && !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		return false, nil
	}
	if !stream {
		data, err := io.ReadAll(response.Body)
		return !unimplemented(data, response.StatusCode != http.StatusOK), err
	}
	var prefix [5]byte
	if _, err := io.ReadFull(response.Body, prefix[:]); err != nil {
		return false, fmt.Errorf("the stream broke: %w", err)
	}
	const end = 2 // the flag of the last envelope, which holds JSON
	if prefix[0]&end == 0 {
		return true, nil // a message
	}
	data := make([]byte, min(binary.BigEndian.Uint32(prefix[1:]), 1<<20))
	if _, err := io.ReadFull(response.Body, data); err != nil {
		return false, fmt.Errorf("the stream broke: %w", err)
	}
	var last struct{ Error json.RawMessage }
	if err := json.Unmarshal(data, &last); err != nil {
		return false, err
	}
	return !unimplemented(last.Error, len(last.Error) > 0), nil
}

func unimplemented(data []byte, failed bool) bool {
	var answer struct{ Code string }
	return failed && json.Unmarshal(data, &answer) == nil && answer.Code == "unimplemented"
}

// A data plane serves what the table says and nothing else.
func TestGatewayServesWhatTheTableSays(t *testing.T) {
	t.Parallel()
	endpoint := startPlane(t)
	for _, service := range serviceDescriptors(t) {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			if method.IsStreamingClient() {
				continue // needs HTTP/2, and none is served
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			got, err := probe(ctx, endpoint, method)
			cancel()
			want := services[string(service.FullName())][string(method.Name())].Status != NotServed
			switch {
			case err != nil:
				t.Errorf("%s: %v", method.FullName(), err)
			case got != want:
				t.Errorf("%s: served %v, the table says %v", method.FullName(), got, want)
			}
		}
	}
}

// startPlane runs a data plane in this process until the test ends.
func startPlane(t *testing.T) (endpoint string) {
	t.Helper()
	folder := t.TempDir()
	runner := filepath.Join(folder, "biplane-runner")
	if output, err := exec.Command("go", "build", "-o", runner, "biplane.dev/biplane/cmd/biplane-runner").CombinedOutput(); err != nil {
		t.Fatalf("build the runner: %v\n%s", err, output)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- plane.Run(ctx, plane.Config{
			State: filepath.Join(folder, "state"), Cache: filepath.Join(folder, "cache"), Runner: runner, Listen: "127.0.0.1:0",
			Engine: engine.Config{CPUMillis: 1000, Memory: 1 << 30, MaxActions: 1000}, Grace: time.Second, EndAttempts: true,
			Log: slog.New(slog.DiscardHandler),
		}, func(address string) { ready <- address })
	}()
	select {
	case address := <-ready:
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Errorf("the plane ended with %v", err)
			}
		})
		return "http://" + address
	case err := <-ended:
		stop()
		t.Fatalf("the plane did not start: %v", err)
		return ""
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		end := func(text string) {
			w.Header().Set("Content-Type", "application/connect+proto")
			w.Write(append(binary.BigEndian.AppendUint32([]byte{2}, uint32(len(text))), text...))
		}
		refuse := func(status int, code string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"code":%q}`, code)
		}
		switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] {
		case "CreateRun":
			refuse(http.StatusBadRequest, "invalid_argument")
		case "GetRunDetails":
			refuse(http.StatusNotFound, "not_found")
		case "AbortRun":
			w.Header().Set("Content-Type", "application/proto")
		case "ListRuns":
			refuse(http.StatusNotImplemented, "unimplemented")
		case "WatchRuns":
			w.Write(make([]byte, 5))
		case "WatchActions":
			end(`{"error":{"code":"unimplemented"}}`)
		case "WatchGroups":
			end(`{"error":{"code":"deadline_exceeded"}}`)
		case "WatchRunDetails":
			end(`{}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	descriptor, err := theirs(t).FindDescriptorByName("flyteidl2.workflow.RunService")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"CreateRun": true, "GetRunDetails": true, "AbortRun": true, "ListRuns": false, "ListActions": false,
		"WatchRuns": true, "WatchActions": false, "WatchGroups": true, "WatchRunDetails": true, "WatchClusterEvents": false,
	} {
		got, err := probe(t.Context(), server.URL, descriptor.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)))
		if got != want || err != nil {
			t.Errorf("%s: served %v, %v", name, got, err)
		}
	}
}
