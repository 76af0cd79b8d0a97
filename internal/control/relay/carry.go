package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/door/hello"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/tunnel"
)

const (
	maxWays     = 4        // that are tried for one connection
	firstAnswer = 16 << 10 // bytes that are read of a plane's first answer at once
)

// Carry implements door.Relay.
func (r *Relay) Carry(ctx context.Context, client *door.Conn, h *hello.Hello) error {
	patience, cancel := context.WithTimeout(ctx, r.config.Limits.OpenTime)
	defer cancel()
	to, err := r.resolve(patience, h.ServerName)
	if err != nil {
		return err
	}
	ways := r.ways(r.local(to))
	if len(ways) < maxWays && r.config.Replicas != nil {
		ways = append(ways, r.remote(patience, to)...)
	}
	if len(ways) == 0 {
		return r.nobody(patience, to)
	}
	c := &connection{client: client, address: client.RemoteAddr().String(), hello: h}
	if err := r.begin(patience, c, ways); err != nil {
		return err
	}
	cancel()
	return r.through(ctx, c)
}

var _ door.Relay = (*Relay)(nil)

// connection is one client's.
type connection struct {
	client  net.Conn
	address string
	hello   *hello.Hello

	// Set by begin:
	stream   net.Conn
	answer   []byte // the plane's first bytes
	throttle *throttle
	leave    func()
}

// way is one way to a plane.
type way struct {
	to      link.Plane
	session *session // nil: through another replica
	open    func(ctx context.Context, meta *tunnelv1.Meta) (net.Conn, error)
}

func (r *Relay) ways(sessions []*session) []way {
	var ways []way
	for _, s := range sessions {
		ways = append(ways, way{to: s.of, session: s, open: s.Open})
	}
	return ways
}

// begin opens a stream by the first way that leads somewhere: on which the plane answers. Until then nothing has reached
// the client, and all that it has sent is known, so another way can be tried without its knowledge.
func (r *Relay) begin(ctx context.Context, c *connection, ways []way) error {
	from := hostOf(c.address)
	refused := error(planeAway)
	for i, w := range ways {
		if i == maxWays || ctx.Err() != nil {
			break
		}
		p, leave, err := r.enter(w.to, w.session, from)
		if err != nil {
			refused = err
			continue
		}
		began := time.Now()
		c.stream, c.answer, err = r.attempt(ctx, w, c)
		if err == nil {
			r.metrics.opening.Observe(time.Since(began).Seconds())
			c.throttle, c.leave = p.throttle, leave
			return nil
		}
		leave()
		r.metrics.attempts.WithLabelValues(w.kind(), "failed").Inc()
		r.log.Debug("relay: a way leads nowhere", "plane", w.to.String(), "by", w.kind(), "err", err)
		switch {
		case errors.Is(err, tunnel.ErrBusy):
			refused = planeBusy
		case w.session != nil && !errors.Is(err, tunnel.ErrDraining):
			r.disappointed(w.session)
		}
	}
	return refused
}

func (w way) kind() string {
	if w.session != nil {
		return "session"
	}
	return "peer"
}

// attempt opens a stream, sends what the client has sent, and waits for the first answer.
func (r *Relay) attempt(ctx context.Context, w way, c *connection) (net.Conn, []byte, error) {
	until := time.Now().Add(r.config.Limits.AttemptTime)
	patience, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	stream, err := w.open(patience, &tunnelv1.Meta{
		ServerName: c.hello.ServerName, ClientAddress: c.address, DeadlineMs: r.config.Limits.AttemptTime.Milliseconds(),
	})
	if err != nil {
		return nil, nil, err
	}
	unhook := context.AfterFunc(patience, func() { reset(stream) })
	answer := make([]byte, firstAnswer)
	n, err := exchange(stream, c.hello.Raw, answer)
	if !unhook() && err == nil {
		err = context.Cause(patience)
	}
	if err != nil {
		reset(stream)
		return nil, nil, err
	}
	r.metrics.attempts.WithLabelValues(w.kind(), "ok").Inc()
	return stream, answer[:n], nil
}

func exchange(stream net.Conn, first, answer []byte) (int, error) {
	if _, err := stream.Write(first); err != nil {
		// Why the plane did not take it is what a read says.
		if _, read := stream.Read(answer); read != nil {
			err = read
		}
		return 0, err
	}
	return stream.Read(answer)
}

// through copies until both directions have ended.
func (r *Relay) through(ctx context.Context, c *connection) error {
	defer c.leave()
	s := &splice{client: c.client, stream: c.stream, limits: r.config.Limits, throttle: c.throttle, metrics: r.metrics}
	began := time.Now()
	err := s.run(ctx, len(c.hello.Raw), c.answer)
	r.metrics.ended.WithLabelValues(endOf(err)).Inc()
	r.metrics.seconds.Observe(time.Since(began).Seconds())
	return err
}

// hostOf is the client address without its port; the zero address when it is none.
func hostOf(address string) netip.Addr {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	host := at.Addr().Unmap().WithZone("")
	if host.Is6() {
		prefix, _ := host.Prefix(64) // the bits fit the address
		host = prefix.Addr()
	}
	return host
}
