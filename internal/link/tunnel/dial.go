package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// alertNoProtocol is the alert of a TLS server that knows none of the client's protocols (RFC 7301).
const alertNoProtocol = tls.AlertError(120)

// attempt brings one session up and proves it with a ping, all before ctx is done. failure says what an error means for
// the transport.
func (k *keeper) attempt(ctx context.Context, by transport) (*session, failure, error) {
	address, config, err := k.Where()
	if err != nil {
		return nil, notThere, fmt.Errorf("where the control plane is: %w", err)
	}
	var conn net.Conn
	how := notThere
	if by == webSocket {
		conn, how, err = k.dialWebSocket(ctx, address, config)
	} else {
		conn, how, err = k.dialTLS(ctx, address, config)
	}
	if err != nil {
		return nil, how, err
	}
	s, err := start(conn, k.Options, false)
	if err != nil {
		return nil, notThere, err
	}
	if err := s.prove(ctx); err != nil {
		s.Close()
		return nil, died, fmt.Errorf("the session with %s ended before it was of use: %w", address, err)
	}
	return s, 0, nil
}

// prove waits until the other side has said who it is and has answered a ping.
func (s *session) prove(ctx context.Context) error {
	if _, err := s.Ping(ctx); err != nil {
		return err
	}
	select {
	case <-s.hello:
		return nil
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("no hello: %w", ctx.Err())
	}
}

func (k *keeper) dialTLS(ctx context.Context, address string, config *tls.Config) (net.Conn, failure, error) {
	raw, err := k.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, notThere, fmt.Errorf("dial %s: %w", address, err)
	}
	config = config.Clone()
	config.NextProtos = []string{Protocol}
	// Small records at the start help a page to show its first words; a flow in here has small records of its own if it wants them.
	config.DynamicRecordSizingDisabled = true
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			raw.Close()
			return nil, notThere, fmt.Errorf("the control plane's address %q: %w", address, err)
		}
		config.ServerName = host
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, handshakeFailure(err), fmt.Errorf("TLS with %s: %w", address, err)
	}
	if conn.ConnectionState().NegotiatedProtocol != Protocol {
		conn.Close()
		return nil, noALPN, fmt.Errorf("TLS with %s: the other side, or something on the way, does not know the protocol %s", address, Protocol)
	}
	return conn, 0, nil
}

func handshakeFailure(err error) failure {
	var alert tls.AlertError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &alert) && alert == alertNoProtocol:
		return noALPN
	case errors.As(err, &certificate), errors.As(err, &authority):
		return notThere
	default:
		return died
	}
}

func (k *keeper) dialWebSocket(ctx context.Context, address string, config *tls.Config) (net.Conn, failure, error) {
	var reached atomic.Bool // net/http may still dial when it has given up
	conn, err := DialWebSocket(ctx, func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := k.Dial(ctx, network, address)
		reached.Store(err == nil)
		return conn, err
	}, address, config)
	if err == nil {
		return conn, 0, nil
	}
	if !reached.Load() {
		return nil, notThere, err
	}
	return nil, died, err
}
