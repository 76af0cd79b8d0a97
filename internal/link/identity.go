package link

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"biplane.dev/biplane/internal/names"
)

// TrustDomain is the authority of the SPIFFE ids of planes.
const TrustDomain = "biplane"

// Files of a folder with TLS material, for ClientTLS.
const (
	CAFile   = "ca.crt"
	CertFile = "tls.crt"
	KeyFile  = "tls.key"
	// NextKeyFile is the key of a certificate that has been asked for. When it fits CertFile it is the key: a process
	// that was killed between replacing the one and the other leaves it so.
	NextKeyFile = "tls.key.next"
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

// PlaneOf reads the SPIFFE id of a certificate that has been verified.
func PlaneOf(certificate *x509.Certificate) (Plane, error) {
	id, err := x509svid.IDFromCert(certificate)
	if err != nil {
		return Plane{}, fmt.Errorf("the certificate is not that of a plane: %w", err)
	}
	parts := strings.Split(id.Path(), "/")
	if id.TrustDomain() != spiffeid.RequireTrustDomainFromString(TrustDomain) || len(parts) != 5 || parts[1] != "org" || parts[3] != "plane" {
		return Plane{}, fmt.Errorf("the certificate's id %q is not that of a plane", id)
	}
	plane := Plane{Org: parts[2], Name: parts[4]}
	if err := names.Check("org", plane.Org); err != nil {
		return Plane{}, err
	}
	return plane, names.Check("plane", plane.Name)
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

// pair reads the certificate and its key. They are two files, so a reader may meet a renewal between them: it looks again.
func pair(folder string) (*tls.Certificate, error) {
	certificate, err := readPair(folder)
	if err != nil {
		certificate, err = readPair(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS files: %w", err)
	}
	return certificate, nil
}

func readPair(folder string) (*tls.Certificate, error) {
	chain, err := os.ReadFile(filepath.Join(folder, CertFile))
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, name := range []string{KeyFile, NextKeyFile} {
		key, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		certificate, err := tls.X509KeyPair(chain, key)
		if err == nil {
			return &certificate, nil
		}
		problems = append(problems, fmt.Errorf("%s with %s: %w", filepath.Join(folder, CertFile), name, err))
	}
	return nil, problems[0]
}
