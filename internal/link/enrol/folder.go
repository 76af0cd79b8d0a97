package enrol

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"biplane.dev/biplane/internal/link"
)

// AddressFile of an identity's folder holds host:port of the control plane that the plane enrolled with.
const AddressFile = "control.addr"

// Credential is a certificate chain and the authorities to trust, as a control plane gives them.
type Credential struct {
	Chain       [][]byte // DER, the plane's own certificate first
	Authorities [][]byte // DER, roots
}

// Identity is what a folder holds.
type Identity struct {
	Plane   link.Plane
	Leaf    *x509.Certificate
	Expires time.Time
}

// Read tells who the folder makes its plane.
func Read(folder string) (Identity, error) {
	text, err := os.ReadFile(filepath.Join(folder, link.CertFile))
	if err != nil {
		return Identity{}, fmt.Errorf("the plane's certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return Identity{}, fmt.Errorf("the plane's certificate: %s is not PEM", filepath.Join(folder, link.CertFile))
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Identity{}, fmt.Errorf("the plane's certificate: %s: %w", filepath.Join(folder, link.CertFile), err)
	}
	plane, err := link.PlaneOf(leaf)
	return Identity{Plane: plane, Leaf: leaf, Expires: leaf.NotAfter}, err
}

// NextKey is the key for the next certificate. It is on disk before it is used: a plane that is killed after the control
// plane has signed asks again with the same key, and is the same plane.
func NextKey(folder string) (*ecdsa.PrivateKey, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("the plane's key: %w", err)
	}
	if err := settle(folder); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, link.NextKeyFile)
	key, err := readKey(path)
	if err == nil {
		return key, nil
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// settle finishes what a killed Store began: when the next key is the certificate's, it takes its place.
func settle(folder string) error {
	next := filepath.Join(folder, link.NextKeyFile)
	key, err := readKey(next)
	if err != nil {
		return nil // there is none, or it is torn and will be made again
	}
	have, err := Read(folder)
	if err != nil || !key.PublicKey.Equal(have.Leaf.PublicKey) {
		return nil
	}
	if err := os.Rename(next, filepath.Join(folder, link.KeyFile)); err != nil {
		return fmt.Errorf("the plane's key: %w", err)
	}
	return syncFolder(folder)
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ours, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an ECDSA key", path)
	}
	return ours, nil
}

// Store makes the credential, which was given for NextKey, the folder's identity. A process that reads the folder with
// link.ClientTLS meanwhile gets the old pair or the new one.
func Store(folder string, c Credential) (Identity, error) {
	key, err := readKey(filepath.Join(folder, link.NextKeyFile))
	if err != nil {
		return Identity{}, fmt.Errorf("the plane's key: %w", err)
	}
	leaf, err := check(c, key)
	if err != nil {
		return Identity{}, fmt.Errorf("the control plane's answer: %w", err)
	}
	plane, err := link.PlaneOf(leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("the control plane's answer: %w", err)
	}
	if err := write(filepath.Join(folder, link.CAFile), certificates(c.Authorities), 0o644); err != nil {
		return Identity{}, err
	}
	if err := write(filepath.Join(folder, link.CertFile), certificates(c.Chain), 0o644); err != nil {
		return Identity{}, err
	}
	return Identity{Plane: plane, Leaf: leaf, Expires: leaf.NotAfter}, settle(folder)
}

// check refuses a credential that would not work: better now than at the next handshake.
func check(c Credential, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range c.Chain {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("it has no certificate")
	}
	if !key.PublicKey.Equal(chain[0].PublicKey) {
		return nil, errors.New("its certificate is for another key than was sent")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, der := range c.Authorities {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		roots.AddCert(root)
	}
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	// The clock of this machine may be wrong; whether the chain holds together is asked for a time within it.
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: chain[0].NotBefore.Add(chain[0].NotAfter.Sub(chain[0].NotBefore) / 2),
	})
	return chain[0], err
}

func certificates(ders [][]byte) []byte {
	var text bytes.Buffer
	for _, der := range ders {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes all
	}
	return text.Bytes()
}

// write replaces a file in one step, and for good: no reader sees half of it, and it is there after a power cut.
func write(path string, content []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("the plane's identity: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("the plane's identity: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}
