package frontdoor

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// savePair keeps a certificate and its key in one file, so that they always fit.
func savePair(path string, pair *tls.Certificate) error {
	text, err := keyPEM(pair.PrivateKey.(crypto.Signer))
	if err != nil {
		return err
	}
	if err := writeFile(path, append(text, chainPEM(pair.Certificate)...), 0o600); err != nil {
		return fmt.Errorf("keep the certificate: %w", err)
	}
	return nil
}

func chainPEM(chain [][]byte) []byte {
	var text bytes.Buffer
	for _, der := range chain {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return text.Bytes()
}

// loadPair reads what savePair wrote; nil when there is nothing.
func loadPair(path string, now time.Time) (*tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return keyPair(text, text, now)
}

// pairOf puts a chain and the key that it was asked for together.
func pairOf(chain [][]byte, key crypto.Signer, now time.Time) (*tls.Certificate, error) {
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return keyPair(chainPEM(chain), text, now)
}

// writeFile replaces a file in one step, so that no reader sees half of it.
func writeFile(path string, content []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
