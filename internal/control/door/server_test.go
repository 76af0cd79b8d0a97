package door_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"biplane.dev/biplane/internal/control/door"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is for the names, signed by itself, and good for both sides.
func certificate(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

func trusting(c tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Leaf)
	return pool
}

// house is a door with an HTTP server behind it.
type house struct {
	t        *testing.T
	address  string
	own      tls.Certificate
	registry *prometheus.Registry
	stop     context.CancelFunc
	served   chan error
}

func newHouse(t *testing.T, config door.Config) *house {
	t.Helper()
	h := &house{t: t, own: certificate(t, "control.example.com"), registry: prometheus.NewRegistry(), served: make(chan error, 1)}
	config.Hosts = []string{"control.example.com", "127.0.0.1"}
	config.Metrics = h.registry
	d, err := door.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	go func() { h.served <- d.Serve(ctx, listener) }()
	server := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto+" "+r.TLS.ServerName) }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{h.own}},
	}
	web := make(chan error, 1)
	go func() { web <- server.ServeTLS(d.HTTP(), "", "") }()
	t.Cleanup(func() {
		h.halt()
		server.Close()
		<-web
	})
	return h
}

// halt stops the door, once, and waits for it.
func (h *house) halt() {
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	if err := <-h.served; err != nil {
		h.t.Error(err)
	}
}

func (h *house) dial() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// get asks the HTTP server behind the door.
func (h *house) get(name string, protocols ...string) string {
	h.t.Helper()
	var p http.Protocols
	p.SetHTTP1(slices.Contains(protocols, "http/1.1"))
	p.SetHTTP2(slices.Contains(protocols, "h2"))
	transport := &http.Transport{
		Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: trusting(h.own)},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", h.address)
		},
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("https://" + name + "/")
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(body)
}

// count is how often connections ended so.
func (h *house) count(outcome string) float64 {
	return metric(h.t, h.registry, "biplane_door_connections_total", outcome)
}

func metric(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// eventually waits until it is so, with a deadline that only a failure meets.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !so(); {
		if time.Now().After(until) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// closes reads until the door closes the connection, and returns what it said before.
func closes(t *testing.T, conn net.Conn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		t.Fatal("the door does not close the connection")
	}
	return string(said)
}

func TestTheOwnNameAndNoNameAreHTTP(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{})
	for _, c := range []struct{ name, protocol, want string }{
		{"control.example.com", "h2", "HTTP/2.0 control.example.com"},
		{"CONTROL.example.com", "http/1.1", "HTTP/1.1 CONTROL.example.com"},
		{"127.0.0.1", "h2", "HTTP/2.0 "}, // addresses are not sent as a name
	} {
		if got := h.get(c.name, c.protocol); !strings.EqualFold(got, c.want) {
			t.Errorf("%s by %s: %q, want %q", c.name, c.protocol, got, c.want)
		}
	}
	// A connection is counted when the server has it, which may answer sooner.
	eventually(t, "all three are counted", func() bool { return h.count("http") == 3 })
}

func TestAnUnknownNameGetsItsAlert(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{})
	_, err := tls.Dial("tcp", h.address, &tls.Config{ServerName: "nobody.example.com", InsecureSkipVerify: true})
	var alert tls.AlertError
	if !errors.As(err, &alert) && !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("err %v", err)
	}
	if h.count("unknown_name") != 1 {
		t.Error("it was not counted")
	}
}

func TestHTTPWithoutTLSIsToldSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Post("http://"+h.address+"/", "text/plain", strings.NewReader(strings.Repeat("x", 20<<10)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "https://") {
		t.Errorf("status %d, body %q, err %v", answer.StatusCode, body, err)
	}
	if h.count("plain_http") != 1 {
		t.Error("it was not counted")
	}
}

func TestWhatIsNoHelloIsClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{})
	alert := func(number byte) string { return string([]byte{21, 3, 3, 0, 2, 2, number}) }
	for _, c := range []struct {
		sent    []byte
		outcome string
		answer  string
	}{
		{[]byte("SSH-2.0-x\r\n"), "not_tls", ""},
		{[]byte{22, 3, 1, 0, 5, 1, 1, 0, 0, 0}, "too_large", alert(22)},
		{append([]byte{22, 3, 1, 0, 64, 1, 0, 0, 60}, bytes.Repeat([]byte{255}, 60)...), "malformed", alert(50)},
		{[]byte{22, 3, 1, 0, 0}, "malformed", alert(50)},
	} {
		conn := h.dial()
		if _, err := conn.Write(c.sent); err != nil {
			t.Fatal(err)
		}
		if half, ok := conn.(*net.TCPConn); ok {
			half.CloseWrite()
		}
		if said := closes(t, conn); said != c.answer {
			t.Errorf("%s: answer %x, want %x", c.outcome, said, c.answer)
		}
		if h.count(c.outcome) < 1 {
			t.Errorf("%s was not counted", c.outcome)
		}
	}
}

func TestAThousandSilentClientsHoldUpNobody(t *testing.T) {
	t.Parallel()
	const many = 1000
	h := newHouse(t, door.Config{Limits: door.Limits{HelloTime: time.Second, AddressPending: many + 10, AddressBurst: 3 * many, AddressConnections: 3 * many}})
	var silent []net.Conn
	for i := range many {
		conn := h.dial()
		if i%2 == 0 { // a slow-loris says a little
			if _, err := conn.Write([]byte{22, 3, 1}); err != nil {
				t.Fatal(err)
			}
		}
		silent = append(silent, conn)
	}
	if got := h.get("control.example.com", "h2"); got != "HTTP/2.0 control.example.com" {
		t.Errorf("got %q", got)
	}
	for _, conn := range silent {
		closes(t, conn)
	}
	eventually(t, "all are counted", func() bool { return h.count("too_slow") == many })
	eventually(t, "all places are free", func() bool { return metric(t, h.registry, "biplane_door_connections", "") == 0 })
}

func TestOneClientAddressHasSoManyConnections(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{Limits: door.Limits{AddressConnections: 3}})
	var inside []net.Conn
	for range 3 {
		inside = append(inside, h.dial())
	}
	closes(t, h.dial())
	if h.count("address_connections") != 1 {
		t.Error("it was not counted")
	}
	inside[0].Close()
	eventually(t, "there is a place again", func() bool { return metric(t, h.registry, "biplane_door_connections", "") == 2 })
	if got := h.get("127.0.0.1", "h2"); got != "HTTP/2.0 " {
		t.Errorf("got %q", got)
	}
}

func TestAProtocolOfPlanesIsChosenByALPN(t *testing.T) {
	t.Parallel()
	plane := certificate(t, "plane")
	own := certificate(t, "control.example.com")
	base := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusting(plane), NextProtos: []string{"h2"}}
	held := make(chan struct{})
	protocol := door.Protocol{
		TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return base, nil }},
		Serve: func(ctx context.Context, conn *tls.Conn) {
			state := conn.ConnectionState()
			io.WriteString(conn, state.NegotiatedProtocol+" "+state.VerifiedChains[0][0].Subject.CommonName)
			<-ctx.Done()
			close(held)
		},
	}
	h := newHouse(t, door.Config{Protocols: map[string]door.Protocol{"planes/1": protocol}, Limits: door.Limits{Grace: time.Millisecond}})
	config := &tls.Config{ServerName: "control.example.com", RootCAs: trusting(own), NextProtos: []string{"planes/1"}}
	if stranger, err := tls.Dial("tcp", h.address, config); err == nil {
		if _, err := stranger.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("a stranger got in: %v", err)
		}
		stranger.Close()
	}
	eventually(t, "the stranger is counted", func() bool { return h.count("handshake") == 1 })
	config.Certificates = []tls.Certificate{plane}
	conn, err := tls.Dial("tcp", h.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	said := make([]byte, len("planes/1 plane"))
	if _, err := io.ReadFull(conn, said); err != nil || string(said) != "planes/1 plane" {
		t.Fatalf("said %q, err %v", said, err)
	}
	if h.count("planes/1") != 1 {
		t.Error("it was not counted")
	}
	h.halt() // which tells it to end after the grace
	<-held
}

func TestADoorThatStopsKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	h := newHouse(t, door.Config{Limits: door.Limits{HelloTime: time.Hour}})
	silent := h.dial()
	eventually(t, "it is inside", func() bool { return metric(t, h.registry, "biplane_door_pending", "") == 1 })
	h.halt()
	closes(t, silent)
	if conn, err := net.Dial("tcp", h.address); err == nil {
		conn.Close()
		t.Error("the door is still open")
	}
}
