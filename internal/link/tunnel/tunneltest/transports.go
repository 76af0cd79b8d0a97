package tunneltest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"biplane.dev/biplane/internal/link/tunnel"
)

// Certificates are what both ends of a tunnel's mutual TLS need, made for one test.
type Certificates struct {
	Relay, Plane *tls.Config // without ALPN protocols
}

// NewCertificates makes an authority with one certificate for a relay at 127.0.0.1 and localhost, and one for a plane.
func NewCertificates(t testing.TB) Certificates {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	sign := func(template, parent *x509.Certificate, public, signer *ecdsa.PrivateKey) *x509.Certificate {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &public.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	rootKey, relayKey, planeKey := key(), key(), key()
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root = sign(root, root, rootKey, rootKey)
	relay := sign(&x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, root, relayKey, rootKey)
	plane := sign(&x509.Certificate{URIs: []*url.URL{{Scheme: "spiffe", Host: "biplane", Path: "/org/acme/plane/east"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, root, planeKey, rootKey)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	pair := func(certificate *x509.Certificate, key *ecdsa.PrivateKey) []tls.Certificate {
		return []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}}
	}
	return Certificates{
		Relay: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair(relay, relayKey), ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		Plane: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair(plane, planeKey), RootCAs: pool},
	}
}

// Pipe is a connection in memory without buffers.
func Pipe() Transport {
	return Transport{Bubble: true, Connect: func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }}
}

// TLS is TLS 1.3 over TCP on the loopback.
func TLS(t testing.TB) Transport {
	certificates := NewCertificates(t)
	certificates.Relay.NextProtos = []string{tunnel.Protocol}
	certificates.Plane.NextProtos = []string{tunnel.Protocol}
	certificates.Plane.ServerName = "localhost"
	return Transport{Connect: func(t *testing.T) (net.Conn, net.Conn) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}()
		near, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, ok := <-accepted
		if !ok {
			t.Fatal("the listener broke")
		}
		plane, relay := tls.Client(near, certificates.Plane), tls.Server(far, certificates.Relay)
		shaken := make(chan error, 1)
		go func() { shaken <- relay.Handshake() }()
		if err := plane.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		return plane, relay
	}}
}

// WebSocket is a WebSocket over TLS 1.3 on the loopback, as Handler accepts it.
func WebSocket(t testing.TB) Transport {
	certificates := NewCertificates(t)
	return Transport{Connect: func(t *testing.T) (net.Conn, net.Conn) {
		accepted := make(chan net.Conn, 1)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := tunnel.AcceptWebSocket(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			accepted <- conn
		}))
		server.TLS = certificates.Relay
		server.StartTLS()
		t.Cleanup(server.Close)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		near, err := tunnel.DialWebSocket(ctx, (&net.Dialer{}).DialContext, server.Listener.Addr().String(), certificates.Plane)
		if err != nil {
			t.Fatal(err)
		}
		return near, <-accepted
	}}
}
