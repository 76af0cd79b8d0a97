package identity

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
)

// silentBeats without a word, and a holder counts as gone; the link's own watchdog says the same.
const silentBeats = 3

// Guard stands between the link's server and what it serves: it is its Gate, and sees every sign of life of every plane,
// so that it knows who is there.
type Guard struct {
	link.Control
	authority *Authority
	beat      time.Duration

	mu      sync.Mutex
	holders map[link.Plane]*holder
}

// NewGuard guards a control. heartbeat is the link's; 0 means its default.
//
//	guard := identity.NewGuard(authority, projection, heartbeat)
//	server := link.NewServer(guard, guard, heartbeat, log)
//	authority.OnRemove(server.Cut)
func NewGuard(a *Authority, control link.Control, heartbeat time.Duration) *Guard {
	if heartbeat == 0 {
		heartbeat = link.DefaultHeartbeat
	}
	g := &Guard{Control: control, authority: a, beat: heartbeat, holders: map[link.Plane]*holder{}}
	a.OnRemove(g.forget)
	return g
}

// forget lets in whoever has the plane's certificate now.
func (g *Guard) forget(plane link.Plane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.holders, plane)
}

var (
	_ link.Gate    = (*Guard)(nil)
	_ link.Control = (*Guard)(nil)
)

// VerifyPlane implements link.Gate.
func (g *Guard) VerifyPlane(ctx context.Context, certificate *x509.Certificate, from string) (link.Plane, error) {
	return g.authority.VerifyPlane(ctx, certificate, from)
}

// Admit implements link.Gate: of two places with one identity it lets in one.
func (g *Guard) Admit(ctx context.Context, plane link.Plane, hello *linkv1.Hello, from string) error {
	g.mu.Lock()
	decision := g.of(plane).admit(present(hello), g.authority.config.Now(), g.beat, silentBeats*g.beat)
	g.mu.Unlock()
	switch decision {
	case enter:
		return nil
	case stay:
		err := g.authority.change(ctx, func(c *change) error {
			return g.authority.copied(c, plane, from, "two places with the same certificate are connected at once")
		})
		if err != nil {
			return err
		}
		return fault.New(fault.KindDenied, "data plane %q is connected from another place that has the same identity: was its state folder copied? Stop one of the two; "+
			"to give this place the identity at once, make a token with biplane planes token %s and enrol with it", plane.Name, plane.Name)
	default:
		return fault.New(fault.KindUnavailable, "another process of data plane %q is connected; trying again shows whether it is alive", plane.Name)
	}
}

// of is called with the lock held.
func (g *Guard) of(plane link.Plane) *holder {
	h := g.holders[plane]
	if h == nil {
		h = &holder{}
		g.holders[plane] = h
	}
	return h
}

func present(hello *linkv1.Hello) string {
	lives := hello.GetLives()
	return lives[len(lives)-1].GetId()
}

func (g *Guard) heard(plane link.Plane) {
	now := g.authority.config.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of(plane).heard = now
}

// Hello implements link.Control.
func (g *Guard) Hello(ctx context.Context, plane link.Plane, hello *linkv1.Hello) (int64, error) {
	now := g.authority.config.Now()
	g.mu.Lock()
	g.of(plane).hold(present(hello), now)
	g.mu.Unlock()
	return g.Control.Hello(ctx, plane, hello)
}

// Apply implements link.Control.
func (g *Guard) Apply(ctx context.Context, plane link.Plane, events *linkv1.Events) (int64, error) {
	g.heard(plane)
	return g.Control.Apply(ctx, plane, events)
}

// Heard implements link.Control.
func (g *Guard) Heard(ctx context.Context, plane link.Plane, health *linkv1.Health) error {
	g.heard(plane)
	return g.Control.Heard(ctx, plane, health)
}

// Gone implements link.Control.
func (g *Guard) Gone(plane link.Plane) {
	g.mu.Lock()
	g.of(plane).open = false
	g.mu.Unlock()
	g.Control.Gone(plane)
}
