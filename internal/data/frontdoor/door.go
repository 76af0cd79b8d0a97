package frontdoor

import (
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// protocolACME is the protocol of handshakes that prove to an authority who holds a name (RFC 8737).
const protocolACME = "acme-tls/1"

// Config of a Door.
type Config struct {
	Source Source
	Log    *slog.Logger
	// Metrics receives the door's metrics.
	Metrics prometheus.Registerer
	// Handshakes is how many may be under way at once [512]. One more ends the one that began first.
	Handshakes int
	// HandshakeTime is how long one may take [10 s].
	HandshakeTime time.Duration
}

// Door ends TLS.
type Door struct {
	config  Config
	tls     *tls.Config
	metrics *metrics
	going   handshakes
}

// New is a door on a source, which somebody else must Run. It fails when the metrics are taken.
func New(config Config) (*Door, error) {
	if config.Handshakes <= 0 {
		config.Handshakes = 512
	}
	if config.HandshakeTime <= 0 {
		config.HandshakeTime = 10 * time.Second
	}
	d := &Door{config: config, going: handshakes{max: config.Handshakes}}
	d.tls = &tls.Config{
		MinVersion:     tls.VersionTLS12, // 1.3 with everybody who can
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: d.certificate,
	}
	if _, ok := config.Source.(prover); ok {
		d.tls.NextProtos = append(d.tls.NextProtos, protocolACME)
	}
	var err error
	d.metrics, err = newMetrics(d)
	return d, err
}

// certificate answers a ClientHello. Without a certificate and without an error, TLS tells the client that the name is not
// known here.
func (d *Door) certificate(hello *tls.ClientHelloInfo) (pair *tls.Certificate, err error) {
	name, v := canonical(hello.ServerName), hello.Conn.(*visitor)
	if p, ok := d.config.Source.(prover); ok && slices.Equal(hello.SupportedProtos, []string{protocolACME}) {
		pair = p.proof(name)
	} else {
		pair, err = d.config.Source.Certificate(name)
	}
	switch {
	case err != nil:
		v.refused = "no certificate"
	case pair == nil:
		v.refused = "unknown name"
	}
	return pair, err
}

// A visitor is the connection below TLS, with what is known of its handshake.
type visitor struct {
	net.Conn
	refused string // why there was no certificate; empty when there was
}

// admit does the server's part of a handshake, and says whether the connection is one for the server behind the door. If
// not, it is closed.
func (d *Door) admit(conn *tls.Conn, v *visitor) bool {
	_ = conn.SetDeadline(time.Now().Add(d.config.HandshakeTime))
	err := conn.Handshake()
	outcome := outcomeOf(err)
	switch {
	case v.refused != "":
		outcome = v.refused
	case err == nil && conn.ConnectionState().NegotiatedProtocol == protocolACME:
		outcome = "proof" // the handshake was all that the authority wanted
	case err == nil && conn.SetDeadline(time.Time{}) != nil:
		outcome = "failed"
	}
	d.metrics.ended(outcome)
	if outcome == "ok" {
		return true
	}
	d.config.Log.Debug("front door: a connection ended with its handshake", "client", v.RemoteAddr().String(), "outcome", outcome, "error", err)
	conn.Close()
	return false
}
