package dial_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/link/linktest/localca"
	"biplane.dev/biplane/internal/names"
)

// authority makes a server's files for the host and, from the same authority, a plane's.
func authority(t *testing.T, host string) (server, plane *tls.Config) {
	t.Helper()
	root := t.TempDir()
	ca, err := localca.Open(filepath.Join(root, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Server(filepath.Join(root, "tls"), host); err != nil {
		t.Fatal(err)
	}
	if err := ca.Plane(filepath.Join(root, "plane"), link.Plane{Org: names.Org, Name: "here"}); err != nil {
		t.Fatal(err)
	}
	if plane, err = link.ClientTLS(filepath.Join(root, "plane")); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(root, "tls", link.CertFile), filepath.Join(root, "tls", link.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: plane.RootCAs}
	return server, plane
}

// secureGreeter greets over TLS.
func secureGreeter(t *testing.T, config *tls.Config) string {
	return serve(t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		fmt.Fprint(secure, "hello\n")
		_, _ = io.Copy(secure, secure)
		_ = secure.CloseWrite()
	})
}

func TestAProxyThatInspectsTLSIsNamed(t *testing.T) {
	t.Parallel()
	host, _, _ := net.SplitHostPort(far)
	server, plane := authority(t, host)
	honest := &proxy{target: secureGreeter(t, server)}
	conn, err := dial.Secure(t.Context(), dialer(t, dial.Config{HTTPSProxy: "http://" + serve(t, honest.handle)}).Dial, far, plane)
	if err != nil {
		t.Fatal(err)
	}
	converse(t, conn)

	// The inspecting one ends TLS itself, with a certificate of an authority of its own for the same name.
	forged, _ := authority(t, host)
	forged.ClientAuth = tls.NoClientCert
	inspecting := &proxy{target: secureGreeter(t, forged)}
	_, err = dial.Secure(t.Context(), dialer(t, dial.Config{HTTPSProxy: "http://" + serve(t, inspecting.handle)}).Dial, far, plane)
	check(t, "inspection", err, "something on the way opens TLS connections")
	check(t, "inspection", err, `"Biplane`)
	if !fault.Is(err, fault.KindDenied) {
		t.Errorf("kind %v", fault.KindOf(err))
	}
}

func TestWhatBreaksTheHandshakeIsSaid(t *testing.T) {
	t.Parallel()
	server, plane := authority(t, "127.0.0.1")
	elsewhere, _ := authority(t, "elsewhere.invalid")
	_, stranger := authority(t, "127.0.0.1")
	stranger.RootCAs = plane.RootCAs
	plain := dialer(t, dial.Config{}).Dial
	swallow := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<10)) }
	elsewhere.ClientAuth = tls.NoClientCert
	for name, c := range map[string]struct {
		address string
		config  *tls.Config
		want    string
	}{
		"not TLS":               {serve(t, func(conn net.Conn) { swallow(conn); fmt.Fprint(conn, "HTTP/1.1 302 Found\r\n\r\n") }), plane, "does not speak TLS"},
		"closed":                {serve(t, swallow), plane, "was closed in the TLS handshake"},
		"another's certificate": {secureGreeter(t, elsewhere), plane, "is not good"},
		"no version in common":  {secureGreeter(t, server), &tls.Config{RootCAs: plane.RootCAs, MaxVersion: tls.VersionTLS12}, "refused in the TLS handshake"},
		"no address":            {"nowhere", plane, "must be host:port"},
	} {
		_, err := dial.Secure(t.Context(), plain, c.address, c.config)
		check(t, name, err, c.want)
	}
	// With TLS 1.3 a client's certificate is refused with the first read.
	conn, err := dial.Secure(t.Context(), plain, secureGreeter(t, server), stranger)
	if err == nil {
		defer conn.Close()
		_, err = io.ReadAll(conn)
	}
	check(t, "a stranger", dial.Explain(err, "there:1"), "there:1 refused in the TLS handshake")
}

func TestASecureDialIsGivenUpWithItsContext(t *testing.T) {
	t.Parallel()
	_, plane := authority(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	silent := serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	})
	if _, err := dial.Secure(ctx, dialer(t, dial.Config{}).Dial, silent, plane); err == nil {
		t.Error("a handshake with nobody succeeded")
	}
}
