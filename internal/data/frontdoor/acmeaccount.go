package frontdoor

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/acme"

	"biplane.dev/biplane/internal/fault"
)

// An account at the ACME server. Names share it; it is held by the one that talks.
type account struct {
	key    crypto.Signer
	client *acme.Client // nil until the server knows the account
}

// retries of one request within a try; afterwards the try has failed.
const retries = 5

// register makes the account at the server, or finds it there.
func (a *ACME) register(ctx context.Context, who *account) error {
	if who.client != nil {
		return nil
	}
	client := &acme.Client{Key: who.key, HTTPClient: a.http, DirectoryURL: a.config.Directory, UserAgent: "biplane", RetryBackoff: backoff}
	directory, err := client.Discover(ctx)
	if err != nil {
		return fmt.Errorf("the ACME server at %s does not answer: %w", a.config.Directory, err)
	}
	wanted := &acme.Account{Contact: a.config.Contact}
	if a.config.KeyID != "" {
		wanted.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.config.KeyID, Key: a.config.MACKey}
	} else if directory.ExternalAccountRequired {
		return fmt.Errorf("the ACME server at %s wants an external account: configure its key id and MAC key", a.config.Directory)
	}
	if _, err := client.Register(ctx, wanted, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return fmt.Errorf("the ACME server at %s does not open an account: %w", a.config.Directory, err)
	}
	who.client = client
	a.mu.Lock()
	defer a.mu.Unlock()
	a.who = identity{uri: string(client.KID), issuers: directory.CAA}
	return nil
}

// backoff is the wait before the nth retry of a request: a server that is busy says how long, within limits.
func backoff(n int, _ *http.Request, response *http.Response) time.Duration {
	if n > retries {
		return -1
	}
	wait := min(time.Duration(100<<n)*time.Millisecond, 10*time.Second)
	if response == nil {
		return wait
	}
	if seconds, err := time.ParseDuration(response.Header.Get("Retry-After") + "s"); err == nil && seconds > wait {
		wait = min(seconds, time.Minute)
	}
	return wait
}

// Each server has an account, and gives certificates, of its own: another directory is another file.
func (c *ACMEConfig) accountPath() string { return c.path("account.key") }

func (c *ACMEConfig) pairPath(name string) string { return c.path(name + ".pem") }

func (c *ACMEConfig) path(name string) string {
	sum := sha256.Sum256([]byte(c.Directory))
	return filepath.Join(c.Folder, hex.EncodeToString(sum[:4])+"-"+name)
}

// loadAccountKey reads the account's key, or makes one. A key that cannot be read is an error rather than a new account: CAA
// records may name the old one.
func loadAccountKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		text, err := keyPEM(key)
		if err != nil {
			return nil, err
		}
		return key, writeFile(path, text, 0o600)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.KindPrecondition, "the key of the ACME account cannot be read: %v", err)
	}
	block, _ := pem.Decode(text)
	if block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(*ecdsa.PrivateKey); ok {
				return signer, nil
			}
		}
	}
	return nil, fault.New(fault.KindPrecondition, "%s is not an ECDSA key; put the right one back, or remove the file for a new account, whose URI CAA records must then name", path)
}
