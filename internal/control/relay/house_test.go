package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/control/relay"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/tunnel"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = "dp.example.com"

var quiet = slog.New(slog.DiscardHandler)

// town is a control plane of one or more replicas on one database.
type town struct {
	t         testing.TB
	db        store.DB
	fleet     *fleet.Fleet
	authority *identity.Authority
	every     time.Duration // a replica's beat: so long that a slow machine makes nobody look dead
}

func newTown(t testing.TB) *town {
	t.Helper()
	folder := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(folder, "control.db"), fleet.Migrations(), identity.Migrations(), relay.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	authority, err := identity.Open(t.Context(), db, identity.Config{Hosts: []string{"127.0.0.1"}, KeyFile: filepath.Join(folder, "key"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return &town{t: t, db: db, fleet: fleet.New(db, time.Now), authority: authority, every: 5 * time.Second}
}

// replica is one replica of the control plane: door, relay, HTTP server.
type replica struct {
	*relay.Relay
	t        testing.TB
	name     string
	address  string
	registry *prometheus.Registry
	seen     *recorder
	stop     func()
}

// open opens a replica. Limits may be changed before.
func (town *town) open(name string, limits relay.Limits, doors door.Limits) *replica {
	t := town.t
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, name: name, address: listener.Addr().String(), registry: prometheus.NewRegistry(), seen: &recorder{Listener: listener}}
	self, err := town.authority.Replica(name)
	if err != nil {
		t.Fatal(err)
	}
	r.Relay, err = relay.New(relay.Config{
		Zone: zone, FrontDoor: town.fleet.FrontDoor, Known: town.fleet.Known, Verify: town.authority.VerifyPlane,
		Replicas: &relay.Replicas{DB: town.db, Name: name, Address: r.address, TLS: self.ClientTLS(), Every: town.every, Log: quiet},
		Limits:   limits, Metrics: r.registry, Log: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	town.authority.OnRemove(r.Cut)
	d, err := door.New(door.Config{
		Hosts: []string{"127.0.0.1"}, Relay: r.Relay, Limits: doors, Metrics: r.registry, Log: quiet,
		Protocols: map[string]door.Protocol{
			tunnel.Protocol:    {TLS: town.authority.PlaneTLS(), Serve: r.ServeTunnel},
			relay.PeerProtocol: {TLS: self.ServerTLS(), Serve: r.ServePeer},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	web, err := rpc.New(rpc.Config{Log: quiet, TLS: town.authority.ServerTLS()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	web.HandleHTTP(tunnel.Path, r.WebSocket())
	var serving sync.WaitGroup
	for _, serve := range []func() error{
		func() error { return d.Serve(ctx, r.seen) },
		func() error { return r.Run(ctx) },
		func() error { return web.Serve(ctx, d.HTTP()) },
	} {
		serving.Go(func() {
			if err := serve(); err != nil {
				t.Error(err)
			}
		})
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		serving.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// count is the value of a metric with these label values.
func (r *replica) count(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var values []string
			for _, label := range m.GetLabel() {
				values = append(values, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// recorder keeps all that the relay reads from and writes to the connections of clients.
type recorder struct {
	net.Listener
	off   bool // set before the first connection
	mu    sync.Mutex
	bytes []byte
}

func (r *recorder) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &recorded{conn.(*net.TCPConn), r}, nil
}

func (r *recorder) all() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bytes)
}

type recorded struct {
	*net.TCPConn
	by *recorder
}

func (c *recorded) note(p []byte) {
	if c.by.off {
		return
	}
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	c.by.bytes = append(c.by.bytes, p...)
}

func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.note(p[:n])
	return n, err
}

func (c *recorded) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.note(p[:n])
	return n, err
}

// dataPlane is a plane: its sessions, and a listener on which its front door ends TLS with a key of its own.
type dataPlane struct {
	link.Plane
	t        testing.TB
	folder   string
	listener *tunnel.Listener
	own      tls.Certificate
	leave    func() // ends the sessions
}

func (town *town) plane(name string, doors ...string) *dataPlane {
	t := town.t
	t.Helper()
	p := &dataPlane{Plane: link.Plane{Org: "acme", Name: name}, t: t, folder: t.TempDir(), listener: tunnel.NewListener(name, 16, nil)}
	err := town.authority.EnsurePlane(t.Context(), p.Plane, p.folder, func(tx store.WriteTx) error { return town.fleet.Register(tx, p.Plane, "", doors) })
	if err != nil {
		t.Fatal(err)
	}
	p.own = certificate(t, append(doors, name+".acme."+zone, "acme."+zone)...)
	p.leave = func() {}
	t.Cleanup(func() {
		p.leave()
		p.listener.Close()
	})
	return p
}

// dial holds so many sessions with the replica, and waits for them.
func (p *dataPlane) dial(to *replica, sessions int) {
	p.t.Helper()
	already := len(to.Sessions(p.Plane))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tunnel.Keep(ctx, tunnel.KeepConfig{
			Count: sessions, Listener: p.listener, FirstWait: 5 * time.Millisecond, MaxWait: 50 * time.Millisecond, Goodbye: time.Millisecond,
			Where: func() (string, *tls.Config, error) {
				config, err := link.ClientTLS(p.folder)
				return to.address, config, err
			},
		})
	}()
	p.leave = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	eventually(p.t, "the sessions are up", func() bool { return len(to.Sessions(p.Plane)) == already+sessions })
}

// dialWebSocket holds one session with the replica by the fall-back.
func (p *dataPlane) dialWebSocket(to *replica) {
	p.t.Helper()
	config, err := link.ClientTLS(p.folder)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := tunnel.DialWebSocket(p.t.Context(), new(net.Dialer).DialContext, to.address, config)
	if err != nil {
		p.t.Fatal(err)
	}
	session, err := tunnel.Client(conn, tunnel.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.listener.Serve(session) }()
	p.leave = sync.OnceFunc(func() {
		session.Close()
		<-served
	})
	eventually(p.t, "the session is up", func() bool { return len(to.Sessions(p.Plane)) == 1 })
}

// registered waits until other replicas can know that the plane has sessions with this one.
func (town *town) registered(with *replica, p *dataPlane) {
	town.t.Helper()
	eventually(town.t, "the plane is in the register", func() bool { return town.rows("relay_planes", with.name) == 1 })
}

// serve serves HTTP at the front door.
func (p *dataPlane) serve(handler http.HandlerFunc) {
	server := &http.Server{
		Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{p.own}}, ErrorLog: slog.NewLogLogger(quiet.Handler(), slog.LevelError),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(p.listener, "", "") }()
	p.t.Cleanup(func() {
		server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			p.t.Error(err)
		}
	})
}

// accept takes the next TLS connection by hand.
func (p *dataPlane) accept() *tls.Conn {
	p.t.Helper()
	conn, err := tls.NewListener(p.listener, &tls.Config{Certificates: []tls.Certificate{p.own}}).Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn.(*tls.Conn)
}

// client speaks HTTP with the plane through the replica.
func (p *dataPlane) client(through *replica, http2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		Protocols: &protocols, TLSClientConfig: &tls.Config{RootCAs: p.trusted()},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", through.address)
		},
	}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (p *dataPlane) trusted() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.own.Leaf)
	return pool
}

// connect makes a TLS connection to a name through the replica.
func (p *dataPlane) connect(through *replica, name string) (*tls.Conn, error) {
	conn, err := tls.Dial("tcp", through.address, &tls.Config{RootCAs: p.trusted(), ServerName: name})
	if err == nil {
		p.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

func (p *dataPlane) host() string { return p.Name + "." + p.Org + "." + zone }

func get(client *http.Client, url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", answer.StatusCode)
	}
	return string(body), err
}

func certificate(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
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

// eventually waits until it is so, with a deadline that only a failure meets.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); !so(); {
		if time.Now().After(until) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// soon bounds reads and writes that are to end by themselves.
func soon(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
}
