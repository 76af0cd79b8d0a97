package relay

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	relayv1 "biplane.dev/biplane/gen/biplane/relay/v1"
	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/control/door/hello"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/names"
)

// PeerProtocol is what a replica asks another for by ALPN.
const PeerProtocol = "biplane-peer/1"

const (
	maxPassing    = 1 << 10 // bytes of a Passing
	maxHelloBytes = 16 << 10
)

// remote are the ways through other replicas.
func (r *Relay) remote(ctx context.Context, to target) []way {
	if !r.mayLookUp() {
		return nil
	}
	defer r.lookedUp()
	peers, err := r.config.Replicas.peers(ctx, to)
	if err != nil {
		r.log.Warn("relay: other replicas were not looked up", "err", err)
	}
	var ways []way
	for _, p := range peers {
		ways = append(ways, way{to: p.plane, open: func(ctx context.Context, meta *tunnelv1.Meta) (net.Conn, error) {
			return r.config.Replicas.pass(ctx, p, meta.GetClientAddress())
		}})
	}
	return ways
}

// pass opens a connection to another replica and says whose session it is to use.
func (s *Replicas) pass(ctx context.Context, p peer, client string) (net.Conn, error) {
	dial := s.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	head, err := framed(&relayv1.Passing{Org: p.plane.Org, Plane: p.plane.Name, ClientAddress: client})
	if err != nil {
		return nil, err
	}
	below, err := dial(ctx, "tcp", p.address)
	if err != nil {
		return nil, fmt.Errorf("replica %s: %w", p.replica, err)
	}
	config := s.TLS.Clone()
	config.NextProtos = []string{PeerProtocol}
	conn := tls.Client(below, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		below.Close()
		return nil, fmt.Errorf("replica %s: %w", p.replica, err)
	}
	if conn.ConnectionState().NegotiatedProtocol != PeerProtocol {
		below.Close()
		return nil, fmt.Errorf("what is at %s is no replica", p.address)
	}
	if _, err := conn.Write(head); err != nil {
		below.Close()
		return nil, fmt.Errorf("replica %s: %w", p.replica, err)
	}
	return conn, nil
}

// ServePeer carries a connection that another replica passes on, through sessions of this replica only. When there is
// none the other is sent nothing, and tries another way.
func (r *Relay) ServePeer(ctx context.Context, conn *tls.Conn) {
	err := r.carryPassed(ctx, conn)
	if err == nil {
		r.metrics.passed.WithLabelValues("carried").Inc()
		return
	}
	// Before the reset: who sees it may look.
	r.metrics.passed.WithLabelValues("refused").Inc()
	r.log.Debug("relay: a connection of another replica was not carried, or not to its end", "err", err)
	reset(conn)
}

func (r *Relay) carryPassed(ctx context.Context, conn *tls.Conn) error {
	patience, cancel := context.WithTimeout(ctx, r.config.Limits.OpenTime)
	defer cancel()
	until := time.Now().Add(r.config.Limits.AttemptTime)
	if err := conn.SetReadDeadline(until); err != nil {
		return err
	}
	passing, err := readPassing(conn)
	if err != nil {
		return err
	}
	h, err := hello.Read(conn, maxHelloBytes, until)
	if err != nil {
		return err
	}
	c := &connection{client: conn, address: passing.GetClientAddress(), hello: h}
	if err := r.begin(patience, c, r.ways(r.local(link.Plane{Org: passing.GetOrg(), Name: passing.GetPlane()}))); err != nil {
		return err
	}
	cancel()
	return r.through(ctx, c)
}

func readPassing(conn net.Conn) (*relayv1.Passing, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("passing: %w", err)
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxPassing {
		return nil, fmt.Errorf("passing: %d bytes; at most %d", n, maxPassing)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(conn, raw); err != nil {
		return nil, fmt.Errorf("passing: %w", err)
	}
	passing := &relayv1.Passing{}
	if err := proto.Unmarshal(raw, passing); err != nil {
		return nil, fmt.Errorf("passing: %w", err)
	}
	_, err := netip.ParseAddrPort(passing.GetClientAddress())
	return passing, errors.Join(err, names.Check("org", passing.GetOrg()), names.Check("plane", passing.GetPlane()))
}

func framed(passing *relayv1.Passing) ([]byte, error) {
	raw, err := proto.Marshal(passing)
	if err != nil || len(raw) > maxPassing {
		return nil, errors.Join(err, errors.New("passing: too large"))
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...), nil
}
