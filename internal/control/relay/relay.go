package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/tunnel"
)

// Config says where names lead and who planes are.
type Config struct {
	// Zone is below what the names of planes and organisations are. Empty: there are only registered names.
	Zone string
	// FrontDoor is the plane that a name was registered for. Nil: there are only names of the zone.
	FrontDoor func(ctx context.Context, name string) (link.Plane, bool, error)
	// Known says whether the organisation has the plane, any plane when it is empty; it tells a plane that is away from one
	// that does not exist. Nil: every name of the zone is taken for that of a plane.
	Known func(ctx context.Context, org, plane string) (bool, error)
	// Verify says whose certificate it is, and refuses one that is not good any more.
	Verify func(ctx context.Context, certificate *x509.Certificate, from string) (link.Plane, error)
	// Tunnel are the options of sessions. Options.Relay tells replicas apart.
	Tunnel tunnel.Options
	// Replicas are the other replicas. Nil: there are none.
	Replicas *Replicas
	Limits   Limits
	Metrics  prometheus.Registerer
	// Log gets sessions and connections by plane and outcome. Default slog.Default().
	Log *slog.Logger
}

// Relay is one replica of the relay.
type Relay struct {
	config  Config
	log     *slog.Logger
	metrics *metrics
	lookups chan struct{}
	dirty   chan struct{}   // the sessions have changed
	lasting context.Context // done when Run has ended
	cut     context.CancelFunc

	mu       sync.Mutex
	planes   map[link.Plane]*plane
	stopping bool
}

// New makes a relay. Connections may come from then on; Run must be called, too.
func New(config Config) (*Relay, error) {
	config.Limits = config.Limits.withDefaults()
	if config.Log == nil {
		config.Log = slog.Default()
	}
	r := &Relay{config: config, log: config.Log, planes: map[link.Plane]*plane{}, lookups: make(chan struct{}, config.Limits.Lookups), dirty: make(chan struct{}, 1)}
	r.lasting, r.cut = context.WithCancel(context.Background())
	var err error
	r.metrics, err = newMetrics(config.Metrics, config.Replicas)
	return r, err
}

// Run tells other replicas which planes are to be reached here, until ctx is done. Then it takes no more connections, tells
// the planes, lets open connections finish within Limits.Drain, resets those that are left, ends all sessions and returns nil.
func (r *Relay) Run(ctx context.Context) error {
	defer r.cut()
	if r.config.Replicas != nil {
		r.config.Replicas.run(ctx, r.dirty, r.count)
	}
	<-ctx.Done()
	r.mu.Lock()
	r.stopping = true
	var sessions []*session
	for _, p := range r.planes {
		sessions = append(sessions, p.sessions...)
	}
	r.mu.Unlock()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Limits.Drain)
	defer cancel()
	var draining sync.WaitGroup
	for _, s := range sessions {
		draining.Go(func() {
			if err := s.Drain(patience); errors.Is(err, context.DeadlineExceeded) {
				r.log.Info("relay: connections were cut because the relay stops", "plane", s.of.String())
			}
		})
	}
	draining.Wait()
	return nil
}

// changed is called with the lock held.
func (r *Relay) changed() {
	select {
	case r.dirty <- struct{}{}:
	default: // nobody has looked since the last change
	}
}

// count is how many sessions each plane has here.
func (r *Relay) count() map[link.Plane]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[link.Plane]int{}
	for id, p := range r.planes {
		if len(p.sessions) > 0 {
			counts[id] = len(p.sessions)
		}
	}
	return counts
}

// ServeTunnel holds the session of a plane that has asked for tunnel.Protocol at the door.
func (r *Relay) ServeTunnel(ctx context.Context, conn *tls.Conn) {
	s, err := tunnel.Server(conn, r.config.Tunnel)
	if err != nil {
		r.log.Error("relay: a session was not accepted", "err", err)
		return
	}
	state := conn.ConnectionState()
	r.hold(ctx, &state, s, conn.RemoteAddr().String())
}

// WebSocket holds the sessions of planes whose ALPN does not come through, until Run ends. It is to be mounted at tunnel.Path of an
// HTTP server that verifies clients' certificates.
func (r *Relay) WebSocket() http.Handler {
	return tunnel.Handler(r.config.Tunnel, func(peer *tls.ConnectionState, s tunnel.Session) { r.hold(r.lasting, peer, s, "") })
}

func (r *Relay) hold(ctx context.Context, peer *tls.ConnectionState, s tunnel.Session, from string) {
	defer s.Close()
	if len(peer.PeerCertificates) == 0 {
		r.log.Error("relay: a session without a certificate")
		return
	}
	verify := func() (link.Plane, error) { return r.config.Verify(ctx, peer.PeerCertificates[0], from) }
	of, err := verify()
	if err != nil {
		r.log.Info("relay: a session was refused", "from", from, "err", err)
		return
	}
	r.log.Debug("relay: a session begins", "plane", of.String(), "from", from)
	err = r.Hold(ctx, of, s, peer.PeerCertificates[0].NotAfter, func() error {
		_, err := verify()
		return err
	})
	r.log.Debug("relay: a session has ended", "plane", of.String(), "from", from, "err", err)
}
