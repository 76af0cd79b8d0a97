package frontdoor_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"biplane.dev/biplane/internal/data/frontdoor"
)

func TestMain(m *testing.M) {
	// Pebble's own switches: validations begin at once, and every order is validated anew.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_AUTHZREUSE", "0")
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"), // has no end
	)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// serve answers each connection of the listener with the lines it gets, until the test ends.
func serve(t *testing.T, listener net.Listener) {
	t.Helper()
	var working sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			working.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		working.Wait()
	})
}

// start runs a source until stop is called.
func start(source frontdoor.Source) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		source.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// run runs a source until the test ends.
func run(t *testing.T, source frontdoor.Source) {
	t.Helper()
	t.Cleanup(start(source))
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func newDoor(t *testing.T, c frontdoor.Config) (*frontdoor.Door, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	c.Log, c.Metrics = quiet(), registry
	door, err := frontdoor.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return door, registry
}

// metric is the value of a counter or gauge; labels are values that must all be there.
func metric(t *testing.T, registry *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	next:
		for _, m := range family.GetMetric() {
			for _, label := range labels {
				found := false
				for _, pair := range m.GetLabel() {
					found = found || pair.GetValue() == label
				}
				if !found {
					continue next
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// dial makes a TLS connection; verifying against roots when there are some.
func dial(t *testing.T, address, name string, roots *x509.CertPool, protocols ...string) (*tls.Conn, error) {
	t.Helper()
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 20 * time.Second},
		Config:    &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: roots == nil, NextProtos: protocols},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*tls.Conn), nil
}

// served is the fingerprint of the certificate that a client gets, verified; empty when it gets none.
func served(t *testing.T, address, name string, roots *x509.CertPool) string {
	t.Helper()
	conn, err := dial(t, address, name, roots, "h2")
	if err != nil {
		return ""
	}
	defer conn.Close()
	return frontdoor.Fingerprint(conn.ConnectionState().PeerCertificates[0].Raw)
}

// says sends a line and wants it back.
func says(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || strings.TrimSpace(got) != line {
		t.Fatalf("got %q, %v", got, err)
	}
}

// wantAlert wants the handshake to have ended with the server's alert of these words.
func wantAlert(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: "+words) {
		t.Errorf("the handshake ended with %v, want the alert %q", err, words)
	}
}
