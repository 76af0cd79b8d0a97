package localca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"biplane.dev/biplane/internal/link"
)

const (
	authorityYears = 10
	leafLife       = 365 * 24 * time.Hour
	authorityKey   = "ca.key"
	clockSlack     = 5 * time.Minute // certificates are valid a little before they were made
)

// CA signs certificates.
type CA struct {
	certificate *x509.Certificate
	key         crypto.Signer
	pem         []byte
}

// Open makes the authority in the folder, or takes the one that is there.
func Open(folder string) (*CA, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("local CA: %w", err)
	}
	ca, err := read(folder)
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = create(folder)
	}
	if err != nil {
		return nil, fmt.Errorf("local CA in %s: %w", folder, err)
	}
	return ca, nil
}

func read(folder string) (*CA, error) {
	certificate, text, err := readCertificate(filepath.Join(folder, link.CAFile))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(folder, authorityKey))
	if err != nil {
		return nil, err
	}
	if !samePublic(certificate, key) {
		return nil, fmt.Errorf("%s does not belong to %s; remove the folder to make a new authority", authorityKey, link.CAFile)
	}
	return &CA{certificate: certificate, key: key, pem: text}, nil
}

func create(folder string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := template("Biplane local CA")
	if err != nil {
		return nil, err
	}
	template.NotAfter = time.Now().AddDate(authorityYears, 0, 0)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &CA{certificate: certificate, key: key, pem: encode("CERTIFICATE", der)}
	// The key first: without its certificate it is made again, with it the pair is whole.
	if err := writeKey(filepath.Join(folder, authorityKey), key); err != nil {
		return nil, err
	}
	return ca, write(filepath.Join(folder, link.CAFile), ca.pem, 0o644)
}

// Server puts ca.crt, tls.crt and tls.key for a server with these names and addresses into the folder. Files that are good
// for it and for another third of their life stay as they are.
func (ca *CA) Server(folder string, hosts ...string) error {
	if len(hosts) == 0 {
		return errors.New("server certificate: no host names")
	}
	leaf, err := template(hosts[0])
	if err != nil {
		return err
	}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	return ca.leaf(folder, leaf)
}

// Plane puts the files of a data plane's client certificate into the folder, under the same rule.
func (ca *CA) Plane(folder string, plane link.Plane) error {
	leaf, err := template(plane.Name)
	if err != nil {
		return err
	}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	leaf.URIs = []*url.URL{plane.URI()}
	return ca.leaf(folder, leaf)
}

func (ca *CA) leaf(folder string, want *x509.Certificate) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("TLS files: %w", err)
	}
	if ca.serves(folder, want) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, want, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("sign a certificate: %w", err)
	}
	return errors.Join(
		writeKey(filepath.Join(folder, link.KeyFile), key),
		write(filepath.Join(folder, link.CertFile), encode("CERTIFICATE", der), 0o644),
		write(filepath.Join(folder, link.CAFile), ca.pem, 0o644),
	)
}

// serves says whether the folder's files are already what is wanted.
func (ca *CA) serves(folder string, want *x509.Certificate) bool {
	have, _, err := readCertificate(filepath.Join(folder, link.CertFile))
	if err != nil {
		return false
	}
	key, err := readKey(filepath.Join(folder, link.KeyFile))
	if err != nil || !samePublic(have, key) {
		return false
	}
	authorities, err := os.ReadFile(filepath.Join(folder, link.CAFile))
	if err != nil || string(authorities) != string(ca.pem) {
		return false
	}
	return have.CheckSignatureFrom(ca.certificate) == nil &&
		time.Until(have.NotAfter) > leafLife/3 &&
		slices.Equal(have.ExtKeyUsage, want.ExtKeyUsage) &&
		slices.Equal(have.DNSNames, want.DNSNames) &&
		slices.EqualFunc(have.IPAddresses, want.IPAddresses, net.IP.Equal) &&
		slices.EqualFunc(have.URIs, want.URIs, func(a, b *url.URL) bool { return a.String() == b.String() })
}

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSlack),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}
