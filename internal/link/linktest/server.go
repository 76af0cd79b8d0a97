package linktest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/rpc"
)

// Circle is a gate that takes every certificate that the authorities have signed for a plane.
type Circle struct{}

// VerifyPlane implements link.Gate.
func (Circle) VerifyPlane(_ context.Context, certificate *x509.Certificate, _ string) (link.Plane, error) {
	return link.PlaneOf(certificate)
}

// Admit implements link.Gate.
func (Circle) Admit(context.Context, link.Plane, *linkv1.Hello, string) error { return nil }

// Serve serves the link on a loopback port, with the folder's ca.crt, tls.crt and tls.key, until the test ends.
func Serve(t testing.TB, links *link.Server, folder string) (address string) {
	t.Helper()
	authorities, err := os.ReadFile(filepath.Join(folder, link.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		t.Fatal("no authorities")
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(folder, link.CertFile), filepath.Join(folder, link.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.New(rpc.Config{Log: slog.New(slog.DiscardHandler), TLS: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}})
	if err != nil {
		t.Fatal(err)
	}
	server.HandleHTTP(link.Path, links.Handler())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		links.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return listener.Addr().String()
}
