package relay

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/pace"
	"biplane.dev/biplane/internal/link/tunnel"
)

// plane is what this replica has of a plane: sessions, or connections, or both.
type plane struct {
	link.Plane
	sessions []*session
	streams  int
	callers  map[netip.Addr]int // connections by client address
	throttle *throttle
}

// session is one way to a plane.
type session struct {
	tunnel.Session
	of      link.Plane
	since   time.Time
	streams int           // through it
	doubt   bool          // the last thing it should have done it did not
	rtt     time.Duration // of the last ping, 0 before that
}

// order puts the better sessions first: those without doubt, the least loaded, the nearest.
func order(sessions []*session) {
	slices.SortStableFunc(sessions, func(a, b *session) int {
		if a.doubt != b.doubt {
			if a.doubt {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.streams, b.streams), cmp.Compare(a.rtt, b.rtt))
	})
}

// State is how a session is.
type State struct {
	Since   time.Time
	Streams int
	Doubt   bool
	RTT     time.Duration // 0: not measured yet
}

// Sessions are the sessions of a plane with this replica, the best first.
func (r *Relay) Sessions(of link.Plane) []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.planes[of]
	if p == nil {
		return nil
	}
	sessions := slices.Clone(p.sessions)
	order(sessions)
	var states []State
	for _, s := range sessions {
		states = append(states, State{s.since, s.streams, s.doubt, s.rtt})
	}
	return states
}

// Hold uses the session for connections to the plane until it ends. It ends it when ctx is done, when the plane is not known
// any more, or when still returns an error, and lets its connections finish, within Limits.Drain, when its certificate is over at
// until. still is called once the session can be cut: what was revoked before that is seen by still, and what is revoked later by Cut.
func (r *Relay) Hold(ctx context.Context, of link.Plane, below tunnel.Session, until time.Time, still func() error) error {
	s := &session{Session: below, of: of, since: time.Now()}
	defer s.Close()
	victim, err := r.join(s)
	if err != nil {
		return err
	}
	defer r.part(s)
	if victim != nil {
		r.log.Info("relay: a plane has more sessions than it may; the worst is closed", "plane", of.String())
		go victim.Close() // its own Hold sees it end
	}
	if err := still(); err != nil {
		return err
	}
	ping := time.NewTimer(rand.N(r.config.Limits.PingEvery/4 + 1))
	defer ping.Stop()
	over := time.NewTimer(time.Until(until) - r.config.Limits.Drain)
	defer over.Stop()
	for {
		select {
		case <-s.Done():
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-over.C:
			patience, cancel := context.WithTimeout(ctx, r.config.Limits.Drain)
			defer cancel()
			return s.Drain(patience)
		case <-ping.C:
			r.ask(ctx, s)
			// Cut reaches sessions of this replica only; a plane may have been removed at another.
			if err := r.known(ctx, of); errors.Is(err, unknownName) {
				return errors.New("relay: the plane was removed")
			}
			ping.Reset(pace.Jittered(r.config.Limits.PingEvery))
		}
	}
}

// ask finds out whether the plane is there.
func (r *Relay) ask(ctx context.Context, s *session) {
	patience, cancel := context.WithTimeout(ctx, r.config.Limits.PingTime)
	defer cancel()
	rtt, err := s.Ping(patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.doubt = err != nil; err == nil {
		s.rtt = rtt
	}
}

func (r *Relay) join(s *session) (victim *session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, stopping
	}
	p := r.of(s.of)
	if len(p.sessions) >= r.config.Limits.Sessions {
		worst := slices.Clone(p.sessions)
		order(worst)
		victim = worst[len(worst)-1]
		p.sessions = slices.DeleteFunc(p.sessions, func(other *session) bool { return other == victim })
	}
	p.sessions = append(p.sessions, s)
	r.metrics.sessions.Inc()
	r.changed()
	return victim, nil
}

func (r *Relay) part(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.sessions.Dec()
	p := r.of(s.of)
	p.sessions = slices.DeleteFunc(p.sessions, func(other *session) bool { return other == s })
	r.forget(p)
	r.changed()
}

// of is called with the lock held, as forget is.
func (r *Relay) of(id link.Plane) *plane {
	p := r.planes[id]
	if p == nil {
		p = &plane{Plane: id, callers: map[netip.Addr]int{}, throttle: newThrottle(r.config.Limits.BytesPerSecond)}
		r.planes[id] = p
	}
	return p
}

func (r *Relay) forget(p *plane) {
	if len(p.sessions) == 0 && p.streams == 0 {
		delete(r.planes, p.Plane)
	}
}

// Cut ends the plane's sessions, and with them every connection through them, at once. Its caller has seen to it that the
// plane does not come back.
func (r *Relay) Cut(of link.Plane) {
	r.mu.Lock()
	var sessions []*session
	if p := r.planes[of]; p != nil {
		sessions = slices.Clone(p.sessions)
	}
	r.mu.Unlock()
	for _, s := range sessions {
		s.Close()
	}
}

// local are the sessions that lead to the target, the best first.
func (r *Relay) local(to target) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sessions []*session
	if to.Name != "" {
		if p := r.planes[to]; p != nil {
			sessions = slices.Clone(p.sessions)
		}
	} else {
		for id, p := range r.planes {
			if id.Org == to.Org {
				sessions = append(sessions, p.sessions...)
			}
		}
	}
	order(sessions)
	return sessions
}

// enter takes a place among the connections to a plane; leave gives it back. s is nil when the way leads through a peer.
func (r *Relay) enter(to link.Plane, s *session, from netip.Addr) (p *plane, leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, nil, stopping
	}
	p = r.of(to)
	switch {
	case p.streams >= r.config.Limits.Streams:
		return nil, nil, planeBusy
	case p.callers[from] >= r.config.Limits.AddressStreams:
		return nil, nil, addressBusy
	}
	p.streams++
	p.callers[from]++
	if s != nil {
		s.streams++
	}
	r.metrics.streams.Inc()
	return p, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.metrics.streams.Dec()
		p.streams--
		if p.callers[from]--; p.callers[from] == 0 {
			delete(p.callers, from)
		}
		if s != nil {
			s.streams--
		}
		r.forget(p)
	}, nil
}

// disappointed notes that a session did not do what it should.
func (r *Relay) disappointed(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.doubt = true
}
