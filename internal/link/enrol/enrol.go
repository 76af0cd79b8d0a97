package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	enrollv1 "biplane.dev/biplane/gen/biplane/enroll/v1"
	"biplane.dev/biplane/gen/biplane/enroll/v1/enrollv1connect"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
)

const (
	callTime   = 30 * time.Second
	listenTime = 5 * time.Second
	maxAnswer  = 256 << 10 // bytes
)

// Contact is how the control plane is reached.
type Contact struct {
	Address string // host:port
	// Dial makes the connections. nil: directly, or through the proxy that HTTPS_PROXY names.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Enrolled is the outcome of Enroll.
type Enrolled struct {
	Identity
	Pool       string
	FrontDoors []string
}

// Enroll makes a key in the folder and has it signed for the token. Before the token is sent, the control plane has shown
// that it holds the authority which the token names. When the answer is lost, the same call may be made again.
func Enroll(ctx context.Context, contact Contact, token Token, folder string) (Enrolled, error) {
	host, _, err := net.SplitHostPort(contact.Address)
	if err != nil || host == "" {
		return Enrolled{}, fault.Invalid("control", "must be host:port, got %q", contact.Address)
	}
	root, err := anchored(ctx, contact, token.Anchor)
	if err != nil {
		return Enrolled{}, err
	}
	key, err := NextKey(folder)
	if err != nil {
		return Enrolled{}, err
	}
	request, err := certificateRequest(key)
	if err != nil {
		return Enrolled{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	client, done := contact.client(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots})
	defer done()
	answer, err := client.Enroll(ctx, &enrollv1.EnrollRequest{Token: token.Text(), CertificateRequest: request})
	if err != nil {
		return Enrolled{}, explain(err, contact.Address)
	}
	c := answer.GetCredential()
	identity, err := Store(folder, Credential{Chain: c.GetChain(), Authorities: c.GetAuthorities()})
	if err != nil {
		return Enrolled{}, err
	}
	if err := write(filepath.Join(folder, AddressFile), []byte(contact.Address+"\n"), 0o644); err != nil {
		return Enrolled{}, err
	}
	return Enrolled{Identity: identity, Pool: c.GetPool(), FrontDoors: c.GetFrontDoors()}, nil
}

// anchored asks for the authorities without trusting who answers, and returns the one with the fingerprint.
func anchored(ctx context.Context, contact Contact, anchor Fingerprint) (*x509.Certificate, error) {
	client, done := contact.client(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
	defer done()
	answer, err := client.GetBundle(ctx, &enrollv1.GetBundleRequest{})
	if err != nil {
		return nil, explain(err, contact.Address)
	}
	for _, der := range answer.GetAuthorities() {
		if root, err := x509.ParseCertificate(der); err == nil && FingerprintOf(root) == anchor {
			return root, nil
		}
	}
	return nil, fault.New(fault.KindDenied, "what answers at %s is not the control plane that made the token; the token was not sent. "+
		"Is the address right? Does a proxy on the way open TLS connections?", contact.Address)
}

// Renew gets the next certificate of the folder's plane, and shows it to the control plane once: from then on the one before
// is worth nothing. When that last step fails, the plane's next connection does it.
func Renew(ctx context.Context, contact Contact, folder string) (Identity, error) {
	have, err := Read(folder)
	if err != nil {
		return Identity{}, err
	}
	if time.Now().After(have.Expires) {
		return have, expired(have)
	}
	key, err := NextKey(folder)
	if err != nil {
		return have, err
	}
	request, err := certificateRequest(key)
	if err != nil {
		return have, err
	}
	config, err := link.ClientTLS(folder)
	if err != nil {
		return have, err
	}
	client, done := contact.client(config)
	answer, err := client.Renew(ctx, &enrollv1.RenewRequest{CertificateRequest: request})
	done()
	if err != nil {
		err = explain(err, contact.Address)
		if fault.Is(err, fault.KindUnavailable) {
			if told := contact.listen(ctx, config); told != nil {
				err = explain(told, contact.Address)
			}
		}
		return have, err
	}
	c := answer.GetCredential()
	got, err := Store(folder, Credential{Chain: c.GetChain(), Authorities: c.GetAuthorities()})
	if err != nil {
		return have, err
	}
	// The connection before was opened with the old certificate.
	client, done = contact.client(config)
	defer done()
	_, _ = client.GetBundle(ctx, &enrollv1.GetBundleRequest{})
	return got, nil
}

// listen connects, says nothing, and returns what the control plane says against the connection; nil when it says nothing against it. With
// TLS 1.3 a server that refuses a client's certificate does so after the client's handshake is done, and a request on
// its way then hides the reason behind a broken pipe.
func (c Contact) listen(ctx context.Context, config *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", c.Address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	config = config.Clone()
	config.NextProtos = []string{"h2"} // the server of this protocol speaks first
	if config.ServerName, _, err = net.SplitHostPort(c.Address); err != nil {
		return nil
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	if err := secure.SetReadDeadline(deadline); err != nil {
		return nil
	}
	if _, err := secure.Read(make([]byte, 1)); refused(err) {
		return err
	}
	return nil
}

// refused says whether the other side said in TLS that it does not take the certificate.
func refused(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "remote error" && strings.Contains(network.Err.Error(), "certificate")
}

func certificateRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return der, nil
}

// client makes a client with connections of its own; done closes them.
func (c Contact) client(config *tls.Config) (client enrollv1connect.EnrollServiceClient, done func()) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second, Protocols: protocols, MaxResponseHeaderBytes: 64 << 10}
	if c.Dial != nil {
		transport.DialContext = c.Dial
	} else {
		transport.Proxy = http.ProxyFromEnvironment
		transport.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	client = enrollv1connect.NewEnrollServiceClient(&http.Client{Transport: transport, Timeout: callTime}, "https://"+c.Address,
		connect.WithReadMaxBytes(maxAnswer))
	return client, transport.CloseIdleConnections
}

func expired(have Identity) error {
	return fault.New(fault.KindPrecondition, "the certificate of data plane %s expired at %s, and an expired one cannot be renewed; make a new token "+
		"with biplane planes token %s at the control plane, and run biplane-data enroll with it here", have.Plane, have.Expires.UTC().Format(time.RFC3339), have.Plane.Name)
}

// explain says what a failed call means.
func explain(err error, address string) error {
	var answer *connect.Error
	var unknown *tls.CertificateVerificationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return fault.Wrap(err, fault.KindDenied, "the control plane at %s cannot be trusted: %v", address, unknown.Err)
	case refused(err):
		return fault.Wrap(err, fault.KindDenied, "the control plane at %s refuses this plane's certificate: the plane was removed or enrolled anew, or its identity "+
			"was copied and renewed elsewhere; biplane planes at the control plane tells which. To enrol again, make a token with biplane planes token NAME", address)
	case errors.As(err, &answer) && connect.IsWireError(err):
		return fault.Wrap(err, kind(answer.Code()), "%s", answer.Message())
	default:
		return fault.Wrap(err, fault.KindUnavailable, "the control plane at %s cannot be asked: %v", address, err)
	}
}

func kind(code connect.Code) fault.Kind {
	switch code {
	case connect.CodeInvalidArgument:
		return fault.KindInvalid
	case connect.CodePermissionDenied:
		return fault.KindDenied
	case connect.CodeFailedPrecondition:
		return fault.KindPrecondition
	case connect.CodeResourceExhausted:
		return fault.KindExhausted
	case connect.CodeUnimplemented:
		return fault.KindUnsupported
	default:
		return fault.KindUnavailable
	}
}
