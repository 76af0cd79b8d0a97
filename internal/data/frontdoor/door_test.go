package frontdoor_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/emptypb"

	"biplane.dev/biplane/internal/data/frontdoor"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/rpc"
)

const host = "plane.acme.example"

// files is a source with one good certificate for the host.
func files(t *testing.T) (frontdoor.Source, *x509.CertPool) {
	t.Helper()
	issuer := newIssuer(t)
	certificate, key := issuer.issue(t, host)
	source, err := frontdoor.NewFiles(frontdoor.FilesConfig{Certificate: certificate, Key: key, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return source, rootsOf(t, issuer.path(link.CAFile))
}

// opened is a door on a TCP port before something that answers with what it gets.
func opened(t *testing.T, c frontdoor.Config) (string, *x509.CertPool, *prometheus.Registry) {
	t.Helper()
	var roots *x509.CertPool
	c.Source, roots = files(t)
	door, registry := newDoor(t, c)
	listener := door.Listener(listen(t))
	serve(t, listener)
	return listener.Addr().String(), roots, registry
}

func counted(t *testing.T, registry *prometheus.Registry, outcome string) {
	t.Helper()
	eventually(t, "the count of "+outcome, func() bool { return metric(t, registry, "biplane_frontdoor_handshakes_total", outcome) > 0 })
}

// The server behind the door is internal/rpc, and clients speak what they like.
func TestEveryProtocolGoesThrough(t *testing.T) {
	t.Parallel()
	source, roots := files(t)
	relay := startRelay(t)
	door, _ := newDoor(t, frontdoor.Config{Source: source})
	server, err := rpc.New(rpc.Config{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan *tls.ConnectionState, 10)
	server.HandleHTTP("/seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.TLS
		_, _ = io.WriteString(w, r.Proto)
	}))
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	listener := door.Listener(relay.tunnelTo(t, host))
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for want, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, relay.address)
			},
		}
		t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
		response, err := client.Get("https://" + host + "/seen")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%q, %v; want %s", body, err, want)
		}
		if state := <-seen; state == nil || state.ServerName != host {
			t.Errorf("%s: the server sees TLS %+v", want, state)
		}
		var options []connect.ClientOption
		if h2 {
			options = append(options, connect.WithGRPC())
		}
		check := connect.NewClient[emptypb.Empty, emptypb.Empty](client, "https://"+host+"/"+grpchealth.HealthV1ServiceName+"/Check", options...)
		if _, err := check.CallUnary(t.Context(), connect.NewRequest(&emptypb.Empty{})); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestHandshakesThatEndOtherwise(t *testing.T) {
	t.Parallel()
	address, roots, registry := opened(t, frontdoor.Config{})

	_, err := dial(t, address, "elsewhere.example", nil)
	wantAlert(t, err, "unrecognized name")
	counted(t, registry, "unknown name")

	_, err = dial(t, address, host, roots, "smtp")
	wantAlert(t, err, "no application protocol")
	counted(t, registry, "failed")

	// An authority that asks for a proof which this source does not have.
	_, err = dial(t, address, host, nil, "acme-tls/1")
	wantAlert(t, err, "no application protocol")

	config := &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	_, err = tls.Dial("tcp", address, config)
	wantAlert(t, err, "protocol version not supported")
	config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	old, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	says(t, old, "an older client")

	plain, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_ = plain.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	if _, err := io.Copy(io.Discard, plain); err != nil {
		t.Error(err)
	}
	counted(t, registry, "not TLS")
	eventually(t, "the end of all handshakes", func() bool { return metric(t, registry, "biplane_frontdoor_handshakes") == 0 })
}

func TestASecondConnectionResumes(t *testing.T) {
	t.Parallel()
	address, roots, _ := opened(t, frontdoor.Config{})
	config := &tls.Config{ServerName: host, RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for _, resumed := range []bool{false, true} {
		conn, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		says(t, conn, "hello") // the ticket comes with the first answer
		if got := conn.ConnectionState().DidResume; got != resumed {
			t.Errorf("resumed: %v, want %v", got, resumed)
		}
		conn.Close()
	}
}

func TestSilentHandshakesEnd(t *testing.T) {
	t.Parallel()
	address, _, registry := opened(t, frontdoor.Config{HandshakeTime: 50 * time.Millisecond})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
	counted(t, registry, "time-out")
}

func TestSilentClientsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	address, roots, registry := opened(t, frontdoor.Config{Handshakes: 4, HandshakeTime: time.Hour})
	for range 20 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	eventually(t, "the first to be crowded out", func() bool { return metric(t, registry, "biplane_frontdoor_crowded_out_total") >= 16 })
	if going := metric(t, registry, "biplane_frontdoor_handshakes"); going > 4 {
		t.Errorf("%v handshakes are under way", going)
	}
	conn, err := dial(t, address, host, roots)
	if err != nil {
		t.Fatal(err)
	}
	says(t, conn, "hello")
}

func TestClosingEndsHandshakes(t *testing.T) {
	t.Parallel()
	source, _ := files(t)
	door, registry := newDoor(t, frontdoor.Config{Source: source, HandshakeTime: time.Hour})
	listener := door.Listener(listen(t))
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the handshake", func() bool { return metric(t, registry, "biplane_frontdoor_handshakes") == 1 })
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
	if _, err := listener.Accept(); err != net.ErrClosed {
		t.Errorf("Accept after Close: %v", err)
	}
	if going := metric(t, registry, "biplane_frontdoor_handshakes"); going != 0 {
		t.Errorf("%v handshakes are under way", going)
	}
}

// Errors of the listener below reach the server, one for each Accept, and do not end the door.
func TestErrorsBelowAreHandedOn(t *testing.T) {
	t.Parallel()
	source, roots := files(t)
	door, _ := newDoor(t, frontdoor.Config{Source: source})
	below := &failing{Listener: listen(t), failures: 3}
	listener := door.Listener(below)
	defer listener.Close()
	for range 3 {
		if _, err := listener.Accept(); err != errOutOfFiles {
			t.Fatalf("Accept: %v", err)
		}
	}
	go func() { _, _ = dial(t, listener.Addr().String(), host, roots) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

var errOutOfFiles = &net.OpError{Op: "accept", Err: os.ErrInvalid}

type failing struct {
	net.Listener
	failures int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.failures--; f.failures >= 0 {
		return nil, errOutOfFiles
	}
	return f.Listener.Accept()
}

func TestFilesThatAreNotGoodYet(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	config := frontdoor.FilesConfig{Certificate: filepath.Join(t.TempDir(), "tls.crt"), Key: filepath.Join(t.TempDir(), "tls.key"), Every: 5 * time.Millisecond, Log: quiet()}
	source, err := frontdoor.NewFiles(config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, source)
	address := direct(t, source)
	_, err = dial(t, address, host, nil)
	wantAlert(t, err, "internal error")
	problem := func(words string) {
		t.Helper()
		eventually(t, "the problem "+words, func() bool { return strings.Contains(source.Status().Certificates[0].Problem, words) })
	}
	problem("no such file")

	place := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := issuer.issue(t, host)
	place(certificate, config.Certificate)
	place(key, config.Key)
	roots := rootsOf(t, issuer.path(link.CAFile))
	eventually(t, "the certificate", func() bool { return served(t, address, host, roots) != "" })
	first := served(t, address, host, roots)

	// Half of the next pair changes nothing yet.
	certificate, key = issuer.issue(t, host)
	place(certificate, config.Certificate)
	problem("does not match")
	if got := served(t, address, host, roots); got != first {
		t.Errorf("with half a pair %q is served, want %q", got, first)
	}
	place(key, config.Key)
	eventually(t, "the next certificate", func() bool { got := served(t, address, host, roots); return got != first && got != "" })
	if status := source.Status().Certificates[0]; status.Problem != "" || status.Failures != 0 {
		t.Errorf("%+v", status)
	}
}
