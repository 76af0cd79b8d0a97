package tunnel_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
	"biplane.dev/biplane/internal/link/tunnel/tunneltest"
)

// fleet is a control plane of some relay replicas behind one address, in memory and below a false clock.
type fleet struct {
	t     *testing.T
	certs tunneltest.Certificates
	web   *pipeListener
	serve *http.Server

	mu       sync.Mutex
	dials    []time.Time
	relays   []string // whom the balancer gives connections to, in turn
	away     bool     // nobody answers
	alpn     bool     // the protocol comes through
	cut      bool     // raw TLS comes through, and ends at once
	sessions []relaySession
	working  sync.WaitGroup
}

type relaySession struct {
	tunnel.Session
	relay, transport string
}

func newFleet(t *testing.T, relays ...string) *fleet {
	f := &fleet{t: t, certs: tunneltest.NewCertificates(t), relays: relays, alpn: true, web: newPipeListener()}
	f.serve = &http.Server{Handler: tunnel.Handler(tunnel.Options{Relay: relays[0]}, func(peer *tls.ConnectionState, s tunnel.Session) {
		if peer.PeerCertificates[0].URIs[0].Path != "/org/acme/plane/east" {
			t.Errorf("the plane is %v", peer.PeerCertificates[0].URIs)
		}
		f.took(s, relays[0], "websocket")
		<-s.Done()
	})}
	f.working.Go(func() { _ = f.serve.Serve(f.web) })
	return f
}

func (f *fleet) stop() {
	f.serve.Close()
	for _, s := range f.all() {
		s.Close()
	}
	f.working.Wait()
}

func (f *fleet) took(s tunnel.Session, relay, transport string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = append(f.sessions, relaySession{s, relay, transport})
}

func (f *fleet) all() []relaySession {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sessions)
}

// up are the sessions that have not ended.
func (f *fleet) up() (up []relaySession) {
	for _, s := range f.all() {
		if s.Err() == nil {
			up = append(up, s)
		}
	}
	return up
}

func (f *fleet) set(change func(*fleet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fleet) tries() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dials)
}

func (f *fleet) dial(context.Context, string, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, time.Now())
	if f.away {
		return nil, errors.New("connection refused")
	}
	relay := f.relays[0]
	f.relays = append(f.relays[1:], relay)
	near, far := net.Pipe()
	config := f.certs.Relay.Clone()
	config.NextProtos = []string{"http/1.1"}
	if f.alpn {
		config.NextProtos = append(config.NextProtos, tunnel.Protocol)
	}
	cut := f.cut
	f.working.Go(func() {
		conn := tls.Server(far, config)
		if conn.Handshake() != nil {
			conn.Close()
			return
		}
		switch {
		case conn.ConnectionState().NegotiatedProtocol != tunnel.Protocol:
			f.web.give(conn)
		case cut:
			conn.Close()
		default:
			s, err := tunnel.Server(conn, tunnel.Options{Relay: relay})
			if err != nil {
				f.t.Error(err)
				return
			}
			f.took(s, relay, "tls")
		}
	})
	return near, nil
}

// kept runs Keep in a bubble, with a listener that greets and echoes.
func kept(t *testing.T, relays []string, change func(*fleet, *tunnel.KeepConfig), run func(*testing.T, *fleet, *statuses)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, relays...)
		listener := tunnel.NewListener("east", 8, nil)
		told := &statuses{}
		config := tunnel.KeepConfig{
			Where:    func() (string, *tls.Config, error) { return "localhost:443", f.certs.Plane, nil },
			Dial:     f.dial,
			Listener: listener,
			Status:   told.tell,
		}
		if change != nil {
			change(f, &config)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var keeping sync.WaitGroup
		keeping.Go(func() { tunnel.Keep(ctx, config) })
		keeping.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				keeping.Go(func() {
					defer conn.Close()
					_, _ = io.Copy(conn, struct{ io.Reader }{conn})
				})
			}
		})
		defer func() {
			cancel()
			listener.Close()
			f.stop()
			keeping.Wait()
			if last := told.last(); len(last.Sessions) != 0 || last.Down.IsZero() {
				t.Errorf("Keep has ended and says %+v", last)
			}
		}()
		run(t, f, told)
	})
}

type statuses struct {
	mu  sync.Mutex
	all []tunnel.Status
}

func (s *statuses) tell(status tunnel.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, status)
}

func (s *statuses) last() tunnel.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[len(s.all)-1]
}

// works wants so many sessions by a transport, each of them of use.
func (f *fleet) works(t *testing.T, told *statuses, transport string, want int) {
	t.Helper()
	synctest.Wait()
	up := f.up()
	if len(up) != want {
		t.Fatalf("%d sessions are up, want %d; %+v", len(up), want, told.last())
	}
	for _, s := range up {
		if s.transport != transport {
			t.Fatalf("a session goes by %s, want %s", s.transport, transport)
		}
		conn, err := s.Open(t.Context(), &tunnelv1.Meta{ServerName: "east"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		conn.Close()
	}
	if last := told.last(); len(last.Sessions) != want || !last.Down.IsZero() || last.Want == want && last.Err != nil {
		t.Fatalf("status: %+v", last)
	}
}

func TestKeepHoldsTwoSessionsAndReplacesThem(t *testing.T) {
	kept(t, []string{"a", "b"}, nil, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(time.Second)
		f.works(t, told, "tls", 2)
		for range 5 {
			for _, s := range f.up() {
				s.Close()
			}
			synctest.Wait()
			if last := told.last(); len(last.Sessions) != 0 || last.Down.IsZero() {
				t.Errorf("without a session the status is %+v", last)
			}
			time.Sleep(15 * time.Second)
			f.works(t, told, "tls", 2)
		}
	})
}

// TestKeepComesBack: T5. Hours of trouble, and a few seconds after it the sessions are up.
func TestKeepComesBack(t *testing.T) {
	kept(t, []string{"a", "b"}, func(f *fleet, _ *tunnel.KeepConfig) { f.away = true }, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(3 * time.Hour)
		// Two loops, with waits of 7.5 s on average.
		if n := f.tries(); n < 2*3600*3/15 || n > 2*3600*3/4 {
			t.Errorf("%d tries in three hours", n)
		}
		if last := told.last(); last.Err == nil || time.Since(last.Down) < 3*time.Hour {
			t.Errorf("status: %+v", last)
		}
		f.set(func(f *fleet) { f.away = false })
		time.Sleep(16 * time.Second)
		f.works(t, told, "tls", 2)
	})
}

// TestKeepIsNotStuckInATry: T5. Whatever does not end is left behind.
func TestKeepIsNotStuckInATry(t *testing.T) {
	for _, what := range []string{"where", "dial", "handshake"} {
		t.Run(what, func(t *testing.T) {
			var tries atomic.Int64
			stuck := func() bool { return tries.Add(1) <= 3 }
			kept(t, []string{"a"}, func(f *fleet, c *tunnel.KeepConfig) {
				c.Count = 1
				hang := make(chan struct{})
				f.t.Cleanup(func() { close(hang) })
				var far []net.Conn
				f.t.Cleanup(func() {
					for _, conn := range far {
						conn.Close()
					}
				})
				where, dial := c.Where, c.Dial
				c.Where = func() (string, *tls.Config, error) {
					if what == "where" && stuck() {
						<-hang
						return "", nil, errors.New("the test is over")
					}
					return where()
				}
				c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if what != "where" && stuck() {
						if what == "dial" { // and does not look at ctx
							<-hang
							return nil, errors.New("the test is over")
						}
						near, silent := net.Pipe()
						far = append(far, silent)
						return near, nil
					}
					return dial(ctx, network, address)
				}
			}, func(t *testing.T, f *fleet, told *statuses) {
				time.Sleep(3 * time.Minute)
				// Tries that hung look as if raw TLS did not come through, so that either transport is right.
				up := f.up()
				if len(up) == 0 {
					t.Fatalf("no session: %+v", told.last())
				}
				f.works(t, told, up[0].transport, 1)
			})
		})
	}
}

// TestKeepFallsBackToAWebSocketAndReturns: T7.
func TestKeepFallsBackToAWebSocketAndReturns(t *testing.T) {
	for what, break_ := range map[string]func(*fleet, bool){
		"no ALPN":           func(f *fleet, broken bool) { f.alpn = !broken },
		"cut in the cradle": func(f *fleet, broken bool) { f.cut = broken },
	} {
		t.Run(what, func(t *testing.T) {
			kept(t, []string{"a", "a"}, func(f *fleet, _ *tunnel.KeepConfig) { break_(f, true) }, func(t *testing.T, f *fleet, told *statuses) {
				time.Sleep(30 * time.Second)
				f.works(t, told, "websocket", 2)
				before := f.tries()
				time.Sleep(3*time.Hour + time.Minute)
				f.works(t, told, "websocket", 2)
				if n := f.tries() - before; n != 2*3 {
					t.Errorf("raw TLS was tried %d times in three hours by two sessions", n)
				}
				f.set(func(f *fleet) { break_(f, false) })
				time.Sleep(time.Hour)
				f.works(t, told, "tls", 2)
			})
		})
	}
}

func TestKeepGoesToDifferentRelays(t *testing.T) {
	// The balancer sends two out of three to the same one.
	kept(t, []string{"a", "a", "b"}, nil, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(5 * time.Second)
		f.works(t, told, "tls", 2)
		up := f.up()
		if up[0].relay == up[1].relay {
			t.Errorf("both sessions lead to %s", up[0].relay)
		}
	})
}

func TestKeepTakesTheOnlyRelayTwice(t *testing.T) {
	kept(t, []string{"a"}, nil, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(5 * time.Second)
		f.works(t, told, "tls", 2)
		if n := f.tries(); n != 5 {
			t.Errorf("%d connections for two sessions with the only relay", n)
		}
	})
}

// TestKeepReplacesASessionThatDrains before its flows have ended.
func TestKeepReplacesASessionThatDrains(t *testing.T) {
	kept(t, []string{"a"}, func(_ *fleet, c *tunnel.KeepConfig) { c.Count = 1 }, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(time.Second)
		old := f.up()[0]
		conn, err := old.Open(t.Context(), &tunnelv1.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		echo := func(message string) {
			t.Helper()
			if _, err := conn.Write([]byte(message)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(message))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != message {
				t.Fatalf("%q, %v", got, err)
			}
		}
		echo("before")
		drained := make(chan error, 1)
		go func() { drained <- old.Drain(t.Context()) }()
		time.Sleep(time.Second)
		if n := len(f.up()); n != 2 {
			t.Fatalf("%d sessions, want the old and the new one", n)
		}
		echo("meanwhile")
		conn.Close()
		if err := <-drained; err != nil {
			t.Error(err)
		}
		f.works(t, told, "tls", 1)
	})
}

// TestKeepNoticesASilentRelay: the connection is there, and nothing comes any more.
func TestKeepNoticesASilentRelay(t *testing.T) {
	var mute muting
	kept(t, []string{"a"}, func(_ *fleet, c *tunnel.KeepConfig) {
		c.Count = 1
		dial := c.Dial
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return mute.wrap(conn), err
		}
	}, func(t *testing.T, f *fleet, told *statuses) {
		time.Sleep(time.Second)
		f.works(t, told, "tls", 1)
		mute.now()
		time.Sleep(3 * time.Minute)
		f.works(t, told, "tls", 1)
		if n := f.tries(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// muting makes the connections so far swallow what is written to them.
type muting struct {
	mu    sync.Mutex
	conns []*muteConn
}

type muteConn struct {
	net.Conn
	mu    sync.Mutex
	muted bool
}

func (m *muting) wrap(conn net.Conn) net.Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, &muteConn{Conn: conn})
	return m.conns[len(m.conns)-1]
}

func (m *muting) now() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.conns {
		conn.mu.Lock()
		conn.muted = true
		conn.mu.Unlock()
	}
}

func (c *muteConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	muted := c.muted
	c.mu.Unlock()
	if muted {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// pipeListener is a net.Listener of connections that are given to it.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) give(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.closed:
		conn.Close()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return tunnel.Address("web") }
