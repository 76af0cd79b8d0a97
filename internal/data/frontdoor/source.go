package frontdoor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Source is where a front door's certificates come from. All methods may be called at once.
type Source interface {
	// Run gets certificates and keeps them good until ctx is done. It is called once. It never gives up: what goes wrong
	// is logged, stands in the Status, and is tried again later.
	Run(ctx context.Context)
	// Certificate is the newest good certificate for a server name, from memory; for the empty name it is that of the first
	// name. It is nil without an error when the name is none of this front door's, and an error when its certificate is
	// not there yet.
	Certificate(name string) (*tls.Certificate, error)
	// Status is how the certificates are, for an operator.
	Status() Status
}

// A prover is a Source that proves to an authority that it holds a name, in a handshake for acme-tls/1 (RFC 8737).
type prover interface {
	// proof is the certificate that such a handshake is to be answered with, nil when none is expected.
	proof(name string) *tls.Certificate
}

// Status of a source.
type Status struct {
	// Kind is "files", "acme" or "local".
	Kind string
	// Account is the URI of the account at the ACME server, for a CAA record with accounturi (RFC 8657). Empty before the
	// account was made, and with other sources.
	Account string
	// Issuers are the domains that a CAA record names the ACME server by.
	Issuers []string
	// Certificates, in the order of the configured names.
	Certificates []CertificateStatus
}

// CertificateStatus is how one certificate is.
type CertificateStatus struct {
	// Names that it is for; with an ACME source the one that it is wanted for.
	Names []string
	// Fingerprint is the SHA-256 of the certificate that is served, in hex; empty when there is none yet.
	Fingerprint         string
	Issuer              string
	NotBefore, NotAfter time.Time
	// Problem says why the last try to get or renew it failed; empty when it did not. Failures counts those in a row.
	Problem  string
	Failures int
	// Next is when it will be renewed, or tried again; zero when the source only watches files.
	Next time.Time
}

// Fingerprint is how operators compare certificates: the SHA-256 of the whole, in hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// keyPair parses a chain and its key, both PEM, and refuses what no client could use.
func keyPair(chain, key []byte, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate expired on %s", pair.Leaf.NotAfter.UTC().Format(time.DateTime))
	}
	if len(namesOf(pair.Leaf)) == 0 {
		return nil, fmt.Errorf("the certificate is for no host name or address (it has no subject alternative names)")
	}
	return &pair, nil
}

// namesOf are the host names and addresses that a certificate is for.
func namesOf(leaf *x509.Certificate) []string {
	names := append([]string{}, leaf.DNSNames...)
	for _, address := range leaf.IPAddresses {
		names = append(names, address.String())
	}
	return names
}

// describe fills in what the certificate itself says.
func (s *CertificateStatus) describe(pair *tls.Certificate) {
	if pair == nil {
		return
	}
	leaf := pair.Leaf
	s.Fingerprint, s.NotBefore, s.NotAfter = Fingerprint(leaf.Raw), leaf.NotBefore, leaf.NotAfter
	if s.Issuer = leaf.Issuer.CommonName; s.Issuer == "" {
		s.Issuer = leaf.Issuer.String()
	}
}

// canonical is a server name as it is compared: lower case, without the dot of the root.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
