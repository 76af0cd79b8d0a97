package tunnel_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"biplane.dev/biplane/internal/link/tunnel"
	"biplane.dev/biplane/internal/link/tunnel/tunneltest"
)

// TestHandlerRefuses whoever is not a plane, before there is a session.
func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	certs := tunneltest.NewCertificates(t)
	certs.Relay.ClientAuth = tls.VerifyClientCertIfGiven // as a port that serves people too
	server := httptest.NewUnstartedServer(tunnel.Handler(tunnel.Options{}, func(*tls.ConnectionState, tunnel.Session) {
		t.Error("there is a session")
	}))
	server.TLS = certs.Relay
	server.StartTLS()
	defer server.Close()
	nobody := &tls.Config{RootCAs: certs.Plane.RootCAs}
	for name, c := range map[string]struct {
		config       *tls.Config
		header       http.Header
		subprotocols []string
		status       int
	}{
		"without a certificate": {nobody, nil, []string{"biplane-tunnel-1"}, http.StatusUnauthorized},
		"from a page":           {certs.Plane, http.Header{"Origin": {"https://" + server.Listener.Addr().String()}}, []string{"biplane-tunnel-1"}, http.StatusForbidden},
		"for something else":    {certs.Plane, nil, []string{"chat"}, http.StatusSwitchingProtocols},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		transport := &http.Transport{TLSClientConfig: c.config}
		ws, answer, err := websocket.Dial(ctx, "wss://"+server.Listener.Addr().String()+tunnel.Path, &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport}, HTTPHeader: c.header, Subprotocols: c.subprotocols})
		if answer == nil || answer.StatusCode != c.status {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
		if err == nil {
			if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("%s: the WebSocket ended with %v", name, err)
			}
			ws.CloseNow()
		}
		transport.CloseIdleConnections()
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := tunnel.DialWebSocket(ctx, (&net.Dialer{}).DialContext, server.Listener.Addr().String(), nobody); err == nil || !strings.Contains(err.Error(), "needs the certificate of a plane") {
		t.Errorf("the plane is told %v", err)
	}
}

// TestAHugeMessageEndsAWebSocket: what is not a frame of the multiplexer costs no memory.
func TestAHugeMessageEndsAWebSocket(t *testing.T) {
	t.Parallel()
	certs := tunneltest.NewCertificates(t)
	read := make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := tunnel.AcceptWebSocket(w, r)
		if err != nil {
			read <- err
			return
		}
		defer conn.Close()
		chunk := make([]byte, 64<<10)
		for err == nil {
			_, err = conn.Read(chunk)
		}
		read <- err
	}))
	server.TLS = certs.Relay
	server.StartTLS()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := tunnel.DialWebSocket(ctx, (&net.Dialer{}).DialContext, server.Listener.Addr().String(), certs.Plane)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(make([]byte, 1<<20)) // one Write is one message
	select {
	case err := <-read:
		if err == nil || !strings.Contains(err.Error(), "too big") {
			t.Errorf("a message of 1 MiB: %v", err)
		}
	case <-ctx.Done():
		t.Error("a message of 1 MiB was read")
	}
}
