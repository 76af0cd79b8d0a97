package frontdoor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
)

// A relay takes connections on a public port, reads the server name of each, and carries it through the tunnel of the plane
// that the name leads to. It has no key.
type relay struct {
	address string
	port    int

	mu       sync.Mutex
	sessions map[string]tunnel.Session // by server name
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	listener := listen(t)
	r := &relay{address: listener.Addr().String(), port: listener.Addr().(*net.TCPAddr).Port, sessions: map[string]tunnel.Session{}}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		working.Wait()
	})
	return r
}

func (r *relay) carry(conn net.Conn) {
	defer conn.Close()
	name, hello := serverName(conn)
	r.mu.Lock()
	session := r.sessions[name]
	r.mu.Unlock()
	if session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := session.Open(ctx, &tunnelv1.Meta{ServerName: name})
	if err != nil {
		return
	}
	defer stream.Close()
	if _, err := stream.Write(hello); err != nil {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(stream, conn)
		stream.Close()
	})
	_, _ = io.Copy(conn, stream)
	conn.Close()
	up.Wait()
}

// serverName reads a ClientHello, and gives back what it has read.
func serverName(conn net.Conn) (name string, read []byte) {
	recording := &recorder{Conn: conn}
	_ = tls.Server(recording, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name = strings.ToLower(hello.ServerName)
		return nil, errors.New("that was all")
	}}).Handshake()
	return name, recording.read.Bytes()
}

type recorder struct {
	net.Conn
	read bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read.Write(p[:n])
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

// tunnelTo is the plane's end: a listener of what the relay carries for these names.
func (r *relay) tunnelTo(t *testing.T, names ...string) net.Listener {
	t.Helper()
	ours, theirs := net.Pipe()
	plane, err := tunnel.Client(ours, tunnel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	relays, err := tunnel.Server(theirs, tunnel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	listener := tunnel.NewListener("tunnel", 64, nil)
	var serving sync.WaitGroup
	serving.Go(func() { _ = listener.Serve(plane) })
	t.Cleanup(func() {
		listener.Close()
		plane.Close()
		relays.Close()
		serving.Wait()
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		r.sessions[name] = relays
	}
	return listener
}
