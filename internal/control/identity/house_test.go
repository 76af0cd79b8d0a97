package identity_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/biplane/link/v1/linkv1connect"
	"biplane.dev/biplane/internal/control/catalog"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/identity"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/control/projection"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/link/linktest"
	"biplane.dev/biplane/internal/rpc"
	"biplane.dev/biplane/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heartbeat is short, so that silence is noticed soon.
const heartbeat = 100 * time.Millisecond

var here = link.Plane{Org: "local", Name: "here"}

// house is a control plane on one TLS port: enrolment and the link, with a clock that the test may put forward.
type house struct {
	t         *testing.T
	root      string
	config    identity.Config
	ahead     atomic.Int64 // of the real clock
	log       *record
	db        store.DB
	fleet     *fleet.Fleet
	authority *identity.Authority
	address   string
	stop      func()
}

// record is a log that is looked at.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func newHouse(t *testing.T, life time.Duration) *house {
	t.Helper()
	h := &house{t: t, root: t.TempDir(), log: &record{}, address: "127.0.0.1:0"}
	h.config = identity.Config{
		Hosts: []string{"127.0.0.1"}, KeyFile: filepath.Join(h.root, "authority.key"), PlaneLife: life,
		Now: func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }, Log: slog.New(slog.NewTextHandler(h.log, nil)),
	}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// start starts the control plane, at the same address as before.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	h.db, err = store.OpenSQLite(ctx, filepath.Join(h.root, "control.db"), ledger.Migrations(), catalog.Migrations(), fleet.Migrations(), projection.Migrations(), identity.Migrations())
	if err != nil {
		h.t.Fatal(err)
	}
	if h.authority, err = identity.Open(ctx, h.db, h.config); err != nil {
		h.t.Fatal(err)
	}
	h.fleet = fleet.New(h.db, time.Now)
	guard := identity.NewGuard(h.authority, projection.New(h.db, h.fleet, h.config.Log), heartbeat)
	links := link.NewServer(guard, guard, heartbeat, h.config.Log)
	h.authority.OnRemove(links.Cut)
	server, err := rpc.New(rpc.Config{Log: h.config.Log, TLS: h.authority.ServerTLS()})
	if err != nil {
		h.t.Fatal(err)
	}
	server.Handle(identity.NewHandler(h.authority, h.fleet.Place, server.Options()...))
	server.HandleHTTP("/"+linkv1connect.LinkServiceName+"/", links.Handler())
	listener, err := net.Listen("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = listener.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	h.stop = sync.OnceFunc(func() {
		links.Close()
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("the server ended with %v", err)
		}
		if err := h.db.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

func (h *house) contact() enrol.Contact { return enrol.Contact{Address: h.address} }

func (h *house) add(plane link.Plane) enrol.Token {
	h.t.Helper()
	token, _, err := h.authority.Add(h.t.Context(), plane, 0, "me", func(tx store.WriteTx) error {
		return h.fleet.Register(tx, plane, "blue", []string{plane.Name + ".example.com"})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

func (h *house) invite(plane link.Plane) enrol.Token {
	h.t.Helper()
	token, _, err := h.authority.Invite(h.t.Context(), plane, 0, "me")
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

func (h *house) remove(plane link.Plane) {
	h.t.Helper()
	if err := h.authority.Remove(h.t.Context(), plane, "me", func(tx store.WriteTx) error { return h.fleet.Remove(tx, plane) }); err != nil {
		h.t.Fatal(err)
	}
}

// enroll enrols a new folder.
func (h *house) enroll(token enrol.Token) string {
	h.t.Helper()
	folder := filepath.Join(h.t.TempDir(), "tls")
	if _, err := enrol.Enroll(h.t.Context(), h.contact(), token, folder); err != nil {
		h.t.Fatal(err)
	}
	return folder
}

func (h *house) renew(folder string) {
	h.t.Helper()
	if _, err := enrol.Renew(h.t.Context(), h.contact(), folder); err != nil {
		h.t.Fatal(err)
	}
}

// copyOf is a second place with the same identity.
func (h *house) copyOf(folder string) string {
	h.t.Helper()
	other := filepath.Join(h.t.TempDir(), "tls")
	if err := os.CopyFS(other, os.DirFS(folder)); err != nil {
		h.t.Fatal(err)
	}
	return other
}

// handshake says what becomes of the folder's certificate on a new connection.
func (h *house) handshake(folder string) error {
	h.t.Helper()
	config, err := link.ClientTLS(folder)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.shake(config)
}

func (h *house) shake(config *tls.Config) error {
	h.t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(h.t.Context(), "tcp", h.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	// A refusal of the client's certificate arrives with the first read; else the server of HTTP/2 speaks first.
	_, err = conn.Read(make([]byte, 1))
	return err
}

func (h *house) good(folder string) {
	h.t.Helper()
	if err := h.handshake(folder); err != nil {
		h.t.Errorf("a good certificate was refused: %v", err)
	}
}

func (h *house) refused(folder string) {
	h.t.Helper()
	if err := h.handshake(folder); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		h.t.Errorf("want the handshake refused, got %v", err)
	}
}

// session is a plane's end of the link.
type session struct {
	news chan error
	stop func()
}

func (h *house) connect(folder string, source *linktest.Plane) *session {
	h.t.Helper()
	config, err := link.ClientTLS(folder)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s := &session{news: make(chan error, 1000)}
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{Address: h.address, TLS: config, Source: source, Sink: source.Sink(), Log: slog.New(slog.DiscardHandler),
			Health: func() *linkv1.Health { return &linkv1.Health{Version: "1"} }, FirstWait: time.Millisecond, MaxWait: 50 * time.Millisecond,
			Status: func(err error) {
				select {
				case s.news <- err:
				default:
				}
			}})
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(s.stop)
	return s
}

// up waits until the session is, down until it has been refused with the words.
func (s *session) up(t *testing.T) { s.await(t, func(err error) bool { return err == nil }) }
func (s *session) down(t *testing.T, words string) {
	s.await(t, func(err error) bool { return err != nil && strings.Contains(err.Error(), words) })
}

func (s *session) await(t *testing.T, enough func(error) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	var last error
	for {
		select {
		case last = <-s.news:
			if enough(last) {
				return
			}
		case <-deadline:
			t.Fatalf("it did not come; the last news were %v", last)
		}
	}
}

func (h *house) reporting() bool {
	h.t.Helper()
	planes, err := h.fleet.Planes(h.t.Context(), here.Org)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range planes {
		if p.Plane == here {
			return p.Reporting
		}
	}
	return false
}

func (h *house) standing() identity.Standing {
	h.t.Helper()
	standings, err := h.authority.Standings(h.t.Context(), here.Org)
	if err != nil {
		h.t.Fatal(err)
	}
	return standings[here.Name]
}

// happened says how often something is among the events.
func (h *house) happened(what string) (times int) {
	h.t.Helper()
	events, err := h.authority.Events(h.t.Context(), here.Org, "", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range events {
		if e.What == what {
			times++
			if e.Actor == "" || e.At.IsZero() || e.Plane != here || !strings.Contains(h.log.String(), what) {
				h.t.Errorf("the event does not say who, when and what, or is not in the log: %+v", e)
			}
		}
	}
	return times
}
