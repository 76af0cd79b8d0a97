package plane_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "biplane.dev/biplane/gen/biplane/admin/v1"
	"biplane.dev/biplane/gen/biplane/admin/v1/adminv1connect"
	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/admin"
	"biplane.dev/biplane/internal/control/plane"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest"
)

// heartbeat is short, so that silence is noticed soon.
const heartbeat = 200 * time.Millisecond

// house is a control plane in this process and the files of the one data plane that may connect to it.
type house struct {
	t        *testing.T
	state    string
	planeTLS string
	listen   string
	stop     context.CancelFunc
	ended    chan error
}

func newHouse(t *testing.T) *house {
	t.Helper()
	root := t.TempDir()
	h := &house{t: t, state: filepath.Join(root, "control"), planeTLS: filepath.Join(root, "plane"), listen: "127.0.0.1:0"}
	t.Cleanup(func() {
		if h.stop != nil {
			h.halt()
		}
	})
	return h
}

// start starts the control plane, at the same address as before.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.ended = cancel, make(chan error, 1)
	go func() {
		h.ended <- plane.Run(ctx, plane.Config{State: h.state, Hosts: []string{"127.0.0.1"}, LocalPlane: plane.LocalPlane{Name: "here", Folder: h.planeTLS}, LinkListen: h.listen, AdminListen: "127.0.0.1:0", Heartbeat: heartbeat, Log: slog.New(slog.DiscardHandler)})
	}()
	linktest.Eventually(h.t, "the control plane is ready", func() bool {
		select {
		case err := <-h.ended:
			h.t.Fatalf("the control plane ended: %v", err)
		default:
		}
		_, err := os.Stat(filepath.Join(h.state, admin.AddressFile))
		return err == nil
	})
	raw, err := os.ReadFile(filepath.Join(h.state, plane.LinkAddressFile))
	if err != nil {
		h.t.Fatal(err)
	}
	h.listen = strings.TrimSpace(string(raw))
}

func (h *house) halt() {
	h.t.Helper()
	h.stop()
	h.stop = nil
	if err := <-h.ended; err != nil {
		h.t.Errorf("the control plane ended with %v", err)
	}
}

func (h *house) client() adminv1connect.AdminServiceClient {
	h.t.Helper()
	address, token, err := admin.Find(h.state)
	if err != nil {
		h.t.Fatal(err)
	}
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+address, connect.WithInterceptors(admin.RequireToken(token)))
}

// stranger is a client that found the port but not the token.
func (h *house) stranger() adminv1connect.AdminServiceClient {
	h.t.Helper()
	address, _, err := admin.Find(h.state)
	if err != nil {
		h.t.Fatal(err)
	}
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, "http://"+address)
}

// connect runs a data plane's end of the link until the test ends or the returned function is called.
func (h *house) connect(source *linktest.Plane, address string) (disconnect func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{
			Where: func() (string, *tls.Config, error) {
				config, err := link.ClientTLS(h.planeTLS)
				return address, config, err
			},
			Source: source, Sink: source.Sink(), Health: func() *linkv1.Health { return &linkv1.Health{Version: "1", CpuMillis: 2000} },
			Log: slog.New(slog.DiscardHandler), FirstWait: 5 * time.Millisecond, MaxWait: 50 * time.Millisecond,
		})
	}()
	disconnect = func() { cancel(); <-done }
	h.t.Cleanup(disconnect)
	return disconnect
}

// phases are the phases of the runs that the control plane tells of.
func (h *house) phases() map[string]linkv1.Phase {
	h.t.Helper()
	phases := map[string]linkv1.Phase{}
	token := ""
	for {
		answer, err := h.client().ListRuns(context.Background(), &adminv1.ListRunsRequest{PageToken: token, Limit: 200})
		if err != nil {
			h.t.Fatal(err)
		}
		for _, run := range answer.GetRuns() {
			if _, twice := phases[run.GetName()]; twice {
				h.t.Fatalf("run %s is on two pages", run.GetName())
			}
			phases[run.GetName()] = run.GetPhase()
		}
		if token = answer.GetNextPageToken(); token == "" {
			return phases
		}
	}
}
