package frontdoor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	localLife     = 90 * 24 * time.Hour
	clockSlack    = 5 * time.Minute // certificates are valid a little before they were made
)

// newAuthority makes an authority that can certify these names and no others: whoever trusts it trusts it for them only.
func newAuthority(names []string, now time.Time) (*tls.Certificate, error) {
	template, err := newTemplate("Biplane local authority", now, authorityLife)
	if err != nil {
		return nil, err
	}
	hosts, addresses := split(names)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.PermittedDNSDomainsCritical = true
	// A kind of name that is not constrained could be anything, so that one without names is closed.
	if template.PermittedDNSDomains = hosts; len(hosts) == 0 {
		template.PermittedDNSDomains = []string{"invalid"}
	}
	for _, address := range addresses {
		bits := 8 * len(address)
		template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: address, Mask: net.CIDRMask(bits, bits)})
	}
	if len(addresses) == 0 {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return withKey(der, key)
}

// certify makes a certificate for the names, with a key of its own.
func certify(authority *tls.Certificate, names []string, now time.Time) (*tls.Certificate, error) {
	template, err := newTemplate(names[0], now, localLife)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = split(names)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		return nil, err
	}
	return withKey(der, key)
}

// certifies says whether a certificate is what certify would make, and has a third of its life before it.
func certifies(authority, pair *tls.Certificate, names []string, now time.Time) bool {
	roots := x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			return false
		}
	}
	return now.Before(renewAt(pair.Leaf.NotBefore, pair.Leaf.NotAfter)) && len(namesOf(pair.Leaf)) == len(names)
}

// coversOnly says whether an authority can certify exactly these names, until after the next certificate.
func coversOnly(authority *tls.Certificate, names []string, now time.Time) bool {
	hosts, addresses := split(names)
	leaf := authority.Leaf
	if len(hosts) > 0 && !slices.Equal(leaf.PermittedDNSDomains, hosts) || len(leaf.PermittedIPRanges) != len(addresses) {
		return false
	}
	for i, address := range addresses {
		if !leaf.PermittedIPRanges[i].IP.Equal(address) {
			return false
		}
	}
	return leaf.IsCA && now.Add(2*localLife).Before(leaf.NotAfter)
}

// split tells host names from addresses, which are 4 bytes long when they can be.
func split(names []string) (hosts []string, addresses []net.IP) {
	for _, name := range names {
		address := net.ParseIP(name)
		if address == nil {
			hosts = append(hosts, canonical(name))
			continue
		}
		if short := address.To4(); short != nil {
			address = short
		}
		addresses = append(addresses, address)
	}
	return hosts, addresses
}

func newTemplate(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-clockSlack), NotAfter: now.Add(life),
	}, nil
}

func withKey(der []byte, key crypto.Signer) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
