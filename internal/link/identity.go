package link

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"biplane.dev/biplane/internal/names"
)

// TrustDomain is the authority of the SPIFFE ids of planes.
const TrustDomain = "biplane"

// Files of a folder with TLS material, for ServerTLS and ClientTLS.
const (
	CAFile   = "ca.crt"
	CertFile = "tls.crt"
	KeyFile  = "tls.key"
)

// Plane names a data plane of an organisation.
type Plane struct {
	Org  string
	Name string
}

func (p Plane) String() string { return p.Org + "/" + p.Name }

// URI is the plane's SPIFFE id, which stands in its certificate.
func (p Plane) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: TrustDomain, Path: "/org/" + p.Org + "/plane/" + p.Name}
}

// planeOf reads the SPIFFE id of a certificate that has been verified.
func planeOf(certificate *x509.Certificate) (Plane, error) {
	if len(certificate.URIs) != 1 {
		return Plane{}, fmt.Errorf("the certificate has %d URIs; a plane's has one", len(certificate.URIs))
	}
	uri := certificate.URIs[0]
	parts := strings.Split(uri.Path, "/")
	if uri.Scheme != "spiffe" || uri.Host != TrustDomain || len(parts) != 5 || parts[1] != "org" || parts[3] != "plane" {
		return Plane{}, fmt.Errorf("the certificate's URI %q is not that of a plane", uri)
	}
	plane := Plane{Org: parts[2], Name: parts[4]}
	if err := names.Check("org", plane.Org); err != nil {
		return Plane{}, err
	}
	return plane, names.Check("plane", plane.Name)
}

// ServerTLS is the control plane's side of the mutual TLS, from the folder's ca.crt, tls.crt and tls.key. The certificate is
// read again for every handshake, so that a rotation needs no restart.
func ServerTLS(folder string) (*tls.Config, error) {
	pool, err := load(folder)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return pair(folder)
		},
	}, nil
}

// ClientTLS is the data plane's side.
func ClientTLS(folder string) (*tls.Config, error) {
	pool, err := load(folder)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return pair(folder)
		},
	}, nil
}

// load reads the trusted authorities, and the pair once, so that a wrong folder is an error at the start.
func load(folder string) (*x509.CertPool, error) {
	path := filepath.Join(folder, CAFile)
	authorities, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("TLS files: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("TLS files: %s holds no certificate", path)
	}
	_, err = pair(folder)
	return pool, err
}

func pair(folder string) (*tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(folder, CertFile), filepath.Join(folder, KeyFile))
	if err != nil {
		return nil, fmt.Errorf("TLS files: %w", err)
	}
	return &certificate, nil
}
