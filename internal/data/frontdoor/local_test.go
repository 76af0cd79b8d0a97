package frontdoor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/frontdoor"
)

// Whoever trusts a demo's authority must not have to trust it for the rest of the world.
func TestALocalAuthorityCertifiesItsNamesOnly(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{{"localhost", "127.0.0.1"}, {"localhost"}, {"127.0.0.1", "::1"}} {
		config := frontdoor.LocalConfig{Folder: t.TempDir(), Names: names, CAFile: filepath.Join(t.TempDir(), "ca.crt"), Log: quiet()}
		if _, err := frontdoor.NewLocal(config); err != nil {
			t.Fatal(err)
		}
		stolen, err := tls.LoadX509KeyPair(filepath.Join(config.Folder, "authority.pem"), filepath.Join(config.Folder, "authority.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := rootsOf(t, config.CAFile)
		for _, name := range append([]string{"bank.example", "10.0.0.1", "2001:db8::1"}, names...) {
			want := strings.Contains(strings.Join(names, " "), name)
			if err := forge(t, stolen, name, roots); (err == nil) != want {
				t.Errorf("authority of %v, certificate for %s: %v", names, name, err)
			}
		}
	}
}

// forge makes a certificate for a name with the authority's key, and verifies it as a client would.
func forge(t *testing.T, authority tls.Certificate, name string, roots *x509.CertPool) error {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	if address := net.ParseIP(name); address != nil {
		template.IPAddresses = append(template.IPAddresses, address)
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func TestOtherNamesAreAnotherAuthority(t *testing.T) {
	t.Parallel()
	config := frontdoor.LocalConfig{Folder: t.TempDir(), Names: []string{"localhost"}, CAFile: filepath.Join(t.TempDir(), "ca.crt"), Log: quiet()}
	authority := func(names ...string) string {
		t.Helper()
		config.Names = names
		if _, err := frontdoor.NewLocal(config); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(config.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := authority("localhost")
	if again := authority("localhost"); again != first {
		t.Error("the same names are another authority after a restart")
	}
	if other := authority("localhost", "127.0.0.1"); other == first {
		t.Error("the authority can certify a name that it was not made for")
	}
	// A damaged file is made again.
	if err := os.WriteFile(filepath.Join(config.Folder, "authority.pem"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	authority("localhost")
}

func TestALocalAuthorityThatCannotWriteSaysSo(t *testing.T) {
	t.Parallel()
	config := frontdoor.LocalConfig{Folder: filepath.Join(os.DevNull, "no"), Names: []string{"localhost"}, Log: quiet()}
	if _, err := frontdoor.NewLocal(config); err == nil || !strings.Contains(err.Error(), config.Folder) {
		t.Errorf("%v", err)
	}
	config.Names = nil
	if _, err := frontdoor.NewLocal(config); err == nil {
		t.Error("no name is accepted")
	}
	// One that loses its folder later goes on with what it has.
	config = frontdoor.LocalConfig{Folder: filepath.Join(t.TempDir(), "sub"), Names: []string{"localhost"}, Every: time.Millisecond, Log: quiet()}
	source, err := frontdoor.NewLocal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(config.Folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config.Folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, source)
	eventually(t, "the problem", func() bool { return source.Status().Certificates[0].Failures > 1 })
	if pair, err := source.Certificate("localhost"); pair == nil || err != nil {
		t.Errorf("%v, %v", pair, err)
	}
}
