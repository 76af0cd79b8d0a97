package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	// Protocol is what a plane's TLS connection asks for by ALPN to become a session.
	Protocol = "biplane-tunnel/1"
	// Path is where a WebSocket becomes a session on the control plane's HTTP server, when ALPN does not come through.
	Path = "/tunnel"
	// subprotocol tells this from other WebSockets. A slash is not allowed in it.
	subprotocol = "biplane-tunnel-1"

	maxWebSocketMessage = 2 * maxMessage // a frame of the multiplexer is one message
	maxRefusal          = 1 << 10        // bytes of an answer that refuses, for the error
)

// DialFunc dials, perhaps through a proxy. network is "tcp".
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Handler makes a session of each WebSocket that a plane opens, to be mounted at Path of an HTTP/1.1 server that verifies
// client certificates. serve is called with the TLS state of the request, whose verified chains say who the plane is, and owns the session;
// when it returns, the session is closed. A request without a verified certificate is refused with 401, one of a browser with 403.
func Handler(o Options, serve func(peer *tls.ConnectionState, s Session)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := AcceptWebSocket(w, r)
		if err != nil {
			return // answered
		}
		s, err := Server(conn, o)
		if err != nil {
			if o.Log != nil {
				o.Log.Error("a tunnel was not accepted", "error", err)
			}
			return
		}
		defer s.Close()
		serve(r.TLS, s)
	})
}

// AcceptWebSocket makes a connection of a request, or answers it with why not.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	switch {
	case r.TLS == nil || len(r.TLS.VerifiedChains) == 0:
		http.Error(w, "the tunnel needs the certificate of a plane", http.StatusUnauthorized)
		return nil, errors.New("tunnel: a WebSocket without a certificate")
	case r.Header.Get("Origin") != "":
		// A plane sends none. A page in the browser of somebody who has a plane's certificate must not open a tunnel.
		http.Error(w, "the tunnel is not for browsers", http.StatusForbidden)
		return nil, errors.New("tunnel: a WebSocket of a browser")
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil, fmt.Errorf("tunnel: WebSocket: %w", err)
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.Close(websocket.StatusPolicyViolation, "the subprotocol is "+subprotocol)
		return nil, errors.New("tunnel: a WebSocket for something else")
	}
	return overWebSocket(ws, nil), nil
}

// DialWebSocket opens a WebSocket at Path of the control plane. address is host:port; config needs the plane's certificate. ctx bounds
// the dial only.
func DialWebSocket(ctx context.Context, dial DialFunc, address string, config *tls.Config) (net.Conn, error) {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	transport := &http.Transport{DialContext: dial, TLSClientConfig: config, MaxResponseHeaderBytes: 16 << 10}
	ws, answer, err := websocket.Dial(ctx, "wss://"+address+Path, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Subprotocols: []string{subprotocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		transport.CloseIdleConnections()
		if answer != nil && answer.Body != nil {
			text, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
			return nil, fmt.Errorf("tunnel: WebSocket to %s: %w: %q", address, err, text)
		}
		return nil, fmt.Errorf("tunnel: WebSocket to %s: %w", address, err)
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("tunnel: WebSocket to %s: the server does not speak %s", address, subprotocol)
	}
	return overWebSocket(ws, Address(address)), nil
}

// wsConn is a WebSocket as a connection.
type wsConn struct {
	net.Conn
	ws     *websocket.Conn
	remote net.Addr // nil: as the WebSocket says
}

func overWebSocket(ws *websocket.Conn, remote net.Addr) net.Conn {
	conn := &wsConn{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws: ws, remote: remote}
	ws.SetReadLimit(maxWebSocketMessage) // NetConn has lifted it
	return conn
}

func (c *wsConn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.Conn.RemoteAddr()
}

// Close does not wait for the other side's farewell: a session ends because the other side is gone, or has been told already.
func (c *wsConn) Close() error {
	_ = c.Conn.SetDeadline(time.Time{}) // ends the timers
	err := c.ws.CloseNow()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
