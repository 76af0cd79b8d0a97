package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"biplane.dev/biplane/internal/fault"
)

// Secure dials and does the TLS handshake, within DefaultTimeout each. The server's name is the address's host where config has
// none. Its faults tell an interception of TLS from a refusal and from a broken connection; config's authorities alone decide whom to trust.
func Secure(ctx context.Context, dial Func, address string, config *tls.Config) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.Invalid("address", "must be host:port, got %q", address)
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, Explain(err, address)
	}
	return secure, nil
}

// Explain says what an error of TLS with the control plane at the address means, as far as it can be known; other errors it
// returns as they are. With TLS 1.3 a server refuses a client's certificate after the handshake, so errors of the first read
// belong here, too.
func Explain(err error, address string) error {
	var unknown *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return untrusted(err, unknown, address)
	case errors.As(err, &record):
		return fault.Wrap(err, fault.KindUnavailable, "what answers at %s does not speak TLS; is the address right? A captive portal or a proxy that answers in the place of the control plane does this, too", address)
	case errors.As(err, &network) && network.Op == "remote error":
		return fault.Wrap(err, fault.KindDenied, "%s refused in the TLS handshake: %v", address, network)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fault.Wrap(err, fault.KindUnavailable, "the connection to %s was closed in the TLS handshake; a firewall that does not allow TLS with a client certificate does this", address)
	default:
		return err
	}
}

// untrusted names the authority that signed in the place of the right one: whoever runs the network knows it by that.
func untrusted(err error, unknown *tls.CertificateVerificationError, address string) error {
	var authority x509.UnknownAuthorityError
	if !errors.As(unknown.Err, &authority) || len(unknown.UnverifiedCertificates) == 0 {
		return fault.Wrap(err, fault.KindDenied, "the certificate that %s shows is not good: %v; check the address, the clock and the control plane's certificate", address, unknown.Err)
	}
	issuer := unknown.UnverifiedCertificates[0].Issuer
	name := issuer.CommonName
	if name == "" {
		name = strings.Join(issuer.Organization, " ")
	}
	return fault.Wrap(err, fault.KindDenied, "the certificate that %s shows is signed by %s, not by the control plane's authority: something on the way opens TLS connections "+
		"(a proxy that inspects them), or the address is wrong. Exempt the address from inspection; nothing was sent", address, fmt.Sprintf("%.100q", name))
}
