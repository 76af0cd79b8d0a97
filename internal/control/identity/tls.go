package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"biplane.dev/biplane/internal/link"
)

// verifyTime bounds the question to the register within a handshake.
const verifyTime = 5 * time.Second

// ServerTLS is for the control plane's own port: its certificate is for Config.Hosts, and clients may show a plane's, which is
// looked up in the register at every handshake. Without protocols they are h2 and http/1.1.
//
// Each connection gets a configuration of its own, so fields that a caller sets on the result have no effect. Whether a
// plane's certificate was shown is in the connection's VerifiedChains.
func (a *Authority) ServerTLS(protocols ...string) *tls.Config {
	return a.serverTLS(tls.VerifyClientCertIfGiven, protocols)
}

// PlaneTLS is ServerTLS for a port or protocol on which only planes are served.
func (a *Authority) PlaneTLS(protocols ...string) *tls.Config {
	return a.serverTLS(tls.RequireAndVerifyClientCert, protocols)
}

func (a *Authority) serverTLS(auth tls.ClientAuthType, protocols []string) *tls.Config {
	if len(protocols) == 0 {
		protocols = []string{"h2", "http/1.1"}
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	base := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols, ClientAuth: auth, ClientCAs: roots, Time: a.config.Now,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.serverCertificate(hello.Context())
		},
		// A ticket would let a plane in with what it showed earlier.
		SessionTicketsDisabled: true,
	}
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		inner, from := base.Clone(), ""
		if hello.Conn != nil && hello.Conn.RemoteAddr() != nil {
			from = hello.Conn.RemoteAddr().String()
		}
		ctx := hello.Context()
		inner.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			asking, cancel := context.WithTimeout(ctx, verifyTime)
			defer cancel()
			_, err := a.VerifyPlane(asking, state.PeerCertificates[0], from)
			return err
		}
		return inner, nil
	}
	return outer
}

// serverCertificate is the control plane's own. Its key is made here and is in memory only.
func (a *Authority) serverCertificate(ctx context.Context) (*tls.Certificate, error) {
	a.signing.Lock()
	defer a.signing.Unlock()
	if a.server != nil && !a.half(a.server.Leaf) {
		return a.server, nil
	}
	by, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	template, err := a.template("Biplane control plane", a.config.Now().Add(min(serverLife, a.config.IntermediateLife)))
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range a.config.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	a.server, err = by.pair(template)
	return a.server, err
}

// pair makes a key and signs it.
func (s *signer) pair(template *x509.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	chain, err := s.issue(template, key.Public())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// relays is below what the ids of relay replicas lie.
const relays = "/relay/"

// Replica is a relay replica among its like: each proves to be one, and takes only such for a peer.
type Replica struct {
	authority *Authority
	id        spiffeid.ID

	mu   sync.Mutex
	svid *x509svid.SVID
}

// Replica makes the identity of a relay replica. Its key is in memory only.
func (a *Authority) Replica(name string) (*Replica, error) {
	id, err := spiffeid.FromPath(spiffeid.RequireTrustDomainFromString(link.TrustDomain), relays+name)
	if err != nil {
		return nil, fmt.Errorf("the name of a relay replica: %w", err)
	}
	return &Replica{authority: a, id: id}, nil
}

var (
	_ x509svid.Source   = (*Replica)(nil)
	_ x509bundle.Source = (*Replica)(nil)
)

// ServerTLS accepts other replicas only.
func (r *Replica) ServerTLS() *tls.Config {
	return r.strict(tlsconfig.MTLSServerConfig(r, r, r.peers()))
}

// ClientTLS connects to other replicas only, whatever their address.
func (r *Replica) ClientTLS() *tls.Config {
	return r.strict(tlsconfig.MTLSClientConfig(r, r, r.peers()))
}

func (r *Replica) strict(c *tls.Config) *tls.Config {
	c.MinVersion, c.SessionTicketsDisabled = tls.VersionTLS13, true
	return c
}

func (r *Replica) peers() tlsconfig.Authorizer {
	return tlsconfig.AdaptMatcher(func(id spiffeid.ID) error {
		if id.TrustDomain() != r.id.TrustDomain() || len(id.Path()) <= len(relays) || id.Path()[:len(relays)] != relays {
			return fmt.Errorf("%s is not a relay replica", id)
		}
		return nil
	})
}

// GetX509SVID implements x509svid.Source: the replica's certificate, made anew after half of its life.
func (r *Replica) GetX509SVID() (*x509svid.SVID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.authority
	if r.svid != nil && !a.half(r.svid.Certificates[0]) {
		return r.svid, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTime)
	defer cancel()
	by, err := a.signer(ctx)
	if err != nil {
		return nil, err
	}
	template, err := a.template(r.id.Path(), a.config.Now().Add(a.config.PlaneLife))
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{r.id.URL()}
	pair, err := by.pair(template)
	if err != nil {
		return nil, err
	}
	r.svid = &x509svid.SVID{ID: r.id, Certificates: []*x509.Certificate{pair.Leaf, by.certificate}, PrivateKey: pair.PrivateKey.(*ecdsa.PrivateKey)}
	return r.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (r *Replica) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return x509bundle.FromX509Authorities(domain, slices.Clip([]*x509.Certificate{r.authority.root})), nil
}
