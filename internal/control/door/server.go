package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"biplane.dev/biplane/internal/control/door/hello"
)

// acceptPause is how long no connection is accepted after the system refused to give one (no more files, mostly).
const acceptPause = 100 * time.Millisecond

// Relay carries connections to names that are not the control plane's.
type Relay interface {
	// Carry passes the connection on and returns when it has ended, or before it has answered the client a *Refusal; the
	// door then tells the client and closes it. When ctx is done the connection is to be cut. h.Raw has been read from client already
	// and is not read from it again.
	Carry(ctx context.Context, client *Conn, h *hello.Hello) error
}

// Protocol is what is spoken with planes or replicas at the control plane's own name.
type Protocol struct {
	// TLS ends the TLS of these connections; the protocol's name is put into a clone of it.
	TLS *tls.Config
	// Serve owns the connection after the handshake. When ctx is done it must return soon.
	Serve func(ctx context.Context, conn *tls.Conn)
}

// Config says what is behind the door.
type Config struct {
	// Hosts are the names and addresses of the control plane itself.
	Hosts []string
	// Relay carries connections to other names. Nil: they are refused.
	Relay Relay
	// Protocols are by the name that a client offers by ALPN. A client that offers none of them speaks HTTP.
	Protocols map[string]Protocol
	Limits    Limits
	Metrics   prometheus.Registerer
	// Log gets refusals, at level debug. Default slog.Default().
	Log *slog.Logger
}

// Server is a door.
type Server struct {
	config  Config
	hosts   map[string]bool
	http    *handoff
	metrics *metrics
	work    sync.WaitGroup

	mu        sync.Mutex
	admission *admission
	stopping  bool
	pending   map[net.Conn]struct{}
}

// New makes a door. Serve opens it.
func New(config Config) (*Server, error) {
	config.Limits = config.Limits.withDefaults()
	if config.Log == nil {
		config.Log = slog.Default()
	}
	s := &Server{config: config, hosts: map[string]bool{}, http: newHandoff(), admission: newAdmission(config.Limits), pending: map[net.Conn]struct{}{}}
	for _, host := range config.Hosts {
		s.hosts[strings.ToLower(host)] = true
	}
	s.config.Protocols = map[string]Protocol{}
	for name, protocol := range config.Protocols {
		if protocol.TLS == nil || protocol.Serve == nil {
			return nil, fmt.Errorf("door: protocol %q has no TLS or nobody to serve it", name)
		}
		protocol.TLS = only(protocol.TLS, name)
		s.config.Protocols[name] = protocol
	}
	var err error
	s.metrics, err = newMetrics(s, config.Metrics)
	return s, err
}

// only is the configuration with one protocol, also where it makes one for each client.
func only(config *tls.Config, protocol string) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{protocol}
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(info)
			if err != nil || chosen == nil {
				return nil, err
			}
			chosen = chosen.Clone()
			chosen.NextProtos = []string{protocol}
			return chosen, nil
		}
	}
	return config
}

// HTTP is where the HTTP server accepts the connections that are for it; it ends their TLS. Closing it refuses them.
func (s *Server) HTTP() net.Listener { return s.http }

// Serve lets clients in until ctx is done; then it closes the listener and whoever has not said what it wants, waits up to
// Limits.Grace for the connections in the hands of the relay and of protocols, cuts those that are left, and returns nil. It
// returns an error when the listener broke. A door serves once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	lasting, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	unhook := context.AfterFunc(ctx, func() {
		listener.Close()
		s.dismissPending()
	})
	defer unhook()
	err := s.accept(ctx, lasting, listener)
	listener.Close()
	s.dismissPending()
	if ctx.Err() != nil {
		err = nil // the HTTP server stops by itself, and closes its listener then
		patience := time.AfterFunc(s.config.Limits.Grace, cut)
		defer patience.Stop()
	} else {
		s.http.Close()
		cut()
	}
	s.work.Wait()
	return err
}

func (s *Server) accept(ctx, lasting context.Context, listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		var passing interface{ Temporary() bool }
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err == nil:
			s.receive(lasting, conn)
		case errors.As(err, &passing) && passing.Temporary() && !errors.Is(err, net.ErrClosed):
			s.config.Log.Warn("door: no connection was accepted", "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("the public port %s: %w", listener.Addr(), err)
		}
	}
}

// receive lets one connection in, or closes it. It does not wait.
func (s *Server) receive(ctx context.Context, below net.Conn) {
	from := addressOf(below.RemoteAddr())
	s.mu.Lock()
	refused := s.admission.arrive(from, time.Now())
	s.mu.Unlock()
	if refused != "" {
		s.note(below, refused, nil)
		below.Close() // an answer would cost more than the refusal saves
		return
	}
	conn := newConn(below, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.admission.leave(from)
	})
	s.work.Go(func() { s.lead(ctx, conn, from) })
}

// lead reads what the client wants and passes the connection on.
func (s *Server) lead(ctx context.Context, conn *Conn, from netip.Prefix) {
	h, err := s.hear(conn, from)
	if err != nil {
		s.turnAway(conn, err)
		return
	}
	if h.ECH {
		s.metrics.encrypted.Inc()
	}
	if h.ServerName != "" && !s.hosts[h.ServerName] {
		s.relay(ctx, conn, h)
		return
	}
	conn.replay = h.Raw
	for _, name := range h.Protocols {
		if protocol, ok := s.config.Protocols[name]; ok {
			s.speak(ctx, conn, name, protocol)
			return
		}
	}
	patience, cancel := context.WithTimeout(ctx, s.config.Limits.HelloTime)
	defer cancel()
	if err := s.http.give(patience, conn); err != nil {
		s.note(conn, refusedBusy, err)
		conn.Close()
		return
	}
	s.note(conn, ledToHTTP, nil)
}

// hear reads the ClientHello. The connection counts as pending meanwhile, and is closed when the door stops.
func (s *Server) hear(conn *Conn, from netip.Prefix) (*hello.Hello, error) {
	s.mu.Lock()
	stopping := s.stopping
	s.pending[conn] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, conn)
		s.admission.settle(from)
	}()
	if stopping {
		return nil, net.ErrClosed
	}
	return hello.Read(conn, s.config.Limits.HelloBytes, time.Now().Add(s.config.Limits.HelloTime))
}

func (s *Server) dismissPending() {
	s.mu.Lock()
	s.stopping = true
	pending := make([]net.Conn, 0, len(s.pending))
	for conn := range s.pending {
		pending = append(pending, conn)
	}
	s.mu.Unlock()
	for _, conn := range pending {
		conn.Close()
	}
}

// turnAway answers who has sent no ClientHello.
func (s *Server) turnAway(conn *Conn, err error) {
	var no *hello.Error
	if !errors.As(err, &no) {
		s.note(conn, refusedStopping, err)
		conn.Close()
		return
	}
	s.note(conn, outcome(no.Reason), no.Cause)
	switch no.Reason {
	case hello.PlainHTTP:
		farewell(conn, []byte(plainAnswer))
	case hello.TooLarge:
		refuse(conn, RecordOverflow)
	case hello.Malformed:
		refuse(conn, DecodeError)
	default:
		conn.Close()
	}
}

func (s *Server) relay(ctx context.Context, conn *Conn, h *hello.Hello) {
	err := error(&Refusal{Reason: string(refusedName), Alert: UnrecognizedName})
	if s.config.Relay != nil {
		err = s.config.Relay.Carry(ctx, conn, h)
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		s.note(conn, outcome(refusal.Reason), err)
		refuse(conn, refusal.Alert)
		return
	case err != nil:
		s.note(conn, failed, err)
	default:
		s.note(conn, ledToRelay, nil)
	}
	conn.Close()
}

// speak ends the TLS of a connection of a plane or a replica.
func (s *Server) speak(ctx context.Context, conn *Conn, name string, protocol Protocol) {
	sealed := tls.Server(conn, protocol.TLS)
	patience, cancel := context.WithTimeout(ctx, s.config.Limits.HandshakeTime)
	defer cancel()
	if err := sealed.HandshakeContext(patience); err != nil {
		s.note(conn, refusedHandshake, err)
		farewell(conn, nil) // the alert has been sent, if there was one
		return
	}
	s.note(conn, outcome(name), nil)
	protocol.Serve(ctx, sealed)
	sealed.Close()
}

// note counts, and logs at level debug. Nothing of what a client has sent is logged.
func (s *Server) note(conn net.Conn, what outcome, err error) {
	s.metrics.connections.WithLabelValues(string(what)).Inc()
	if err != nil && !slices.Contains([]outcome{ledToHTTP, ledToRelay}, what) {
		s.config.Log.Debug("door: a connection was refused", "from", conn.RemoteAddr().String(), "outcome", string(what), "err", err)
	}
}
