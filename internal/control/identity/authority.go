package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/enrol"
	"biplane.dev/biplane/internal/store"
)

// Lives of certificates, where Config does not say otherwise.
const (
	planeLife        = 24 * time.Hour
	intermediateLife = 90 * 24 * time.Hour
	serverLife       = 7 * 24 * time.Hour // of a key in memory; a longer one would only serve a thief of memory
	rootYears        = 20
	clockSlack       = 5 * time.Minute // certificates are valid a little before they were made
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the authority's and the register's tables.
func Migrations() store.Migrations {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return store.Migrations{Part: "identity", Files: files}
}

// Config of an Authority.
type Config struct {
	// Hosts are the names and addresses of the control plane itself, for its server certificates.
	Hosts []string
	// KeyFile holds what the authorities' keys are encrypted with; it is made, with mode 0600, at the very first start.
	KeyFile string
	// Passphrase is used in place of the key file when it is not empty. It must have been read from somewhere that is no
	// argument list.
	Passphrase string
	// PlaneLife is how long a plane's certificate is valid. 0 means 24 hours.
	PlaneLife time.Duration
	// IntermediateLife is how long an intermediate is valid; it signs for half of that. 0 means 90 days.
	IntermediateLife time.Duration
	// Now is the clock. nil means the machine's.
	Now func() time.Time
	Log *slog.Logger
}

// Authority signs certificates and knows which are good. Several processes may open one on the same database.
type Authority struct {
	db     store.DB
	config Config
	seal   *seal
	root   *x509.Certificate

	signing sync.Mutex
	newest  *signer
	server  *tls.Certificate

	mu      sync.Mutex
	removed []func(link.Plane)
	renewed []func(link.Plane)
	noted   map[string]time.Time // what was noted of a plane lately
}

// signer is the intermediate.
type signer struct {
	number      int64
	certificate *x509.Certificate
	key         crypto.Signer
}

// Open takes the authority in the database, which was opened with Migrations, or makes one.
func Open(ctx context.Context, db store.DB, c Config) (*Authority, error) {
	if c.PlaneLife == 0 {
		c.PlaneLife = planeLife
	}
	if c.IntermediateLife == 0 {
		c.IntermediateLife = intermediateLife
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case len(c.Hosts) == 0:
		return nil, errors.New("identity: the control plane has no host names")
	case c.PlaneLife < time.Second, c.IntermediateLife < 4*c.PlaneLife:
		return nil, fmt.Errorf("identity: an intermediate must live at least four times as long as a plane's certificate; they are to live %v and %v", c.IntermediateLife, c.PlaneLife)
	}
	a := &Authority{db: db, config: c, noted: map[string]time.Time{}}
	root, err := a.read(ctx, `SELECT number, certificate, sealed_key FROM authorities WHERE number = 0`)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	fresh := err != nil
	if a.seal, err = openSeal(c, fresh); err != nil {
		return nil, err
	}
	if fresh {
		if root, err = a.create(ctx); err != nil {
			return nil, fmt.Errorf("make the authority: %w", err)
		}
	}
	a.root = root.certificate
	_, err = a.signer(ctx)
	return a, err
}

// stored is a row of authorities.
type stored struct {
	number      int64
	certificate *x509.Certificate
	sealed      []byte
}

func (s stored) open(seal *seal) (*signer, error) {
	der, err := seal.open(s.sealed, s.certificate.Raw)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the authority's key: %w", err)
	}
	ours, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the authority's key does not sign")
	}
	return &signer{number: s.number, certificate: s.certificate, key: ours}, nil
}

func (a *Authority) read(ctx context.Context, query string) (stored, error) {
	var s stored
	var der []byte
	err := a.db.Read(ctx, func(tx store.Tx) error { return tx.QueryRow(query).Scan(&s.number, &der, &s.sealed) })
	if err != nil {
		return s, err
	}
	s.certificate, err = x509.ParseCertificate(der)
	return s, err
}

// create makes the root, unless another process has made it meanwhile.
func (a *Authority) create(ctx context.Context) (stored, error) {
	now := a.config.Now()
	template, err := a.template("Biplane root", now.AddDate(rootYears, 0, 0))
	if err != nil {
		return stored{}, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLen = true, true, 1
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: link.TrustDomain}}
	if err := a.keep(ctx, template, nil); err != nil {
		return stored{}, err
	}
	return a.read(ctx, `SELECT number, certificate, sealed_key FROM authorities WHERE number = 0`)
}

// keep makes a key, signs it with the parent, or with itself when there is none, and stores both.
func (a *Authority) keep(ctx context.Context, template *x509.Certificate, parent *signer) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	issuer, by := template, crypto.Signer(key)
	if parent != nil {
		issuer, by = parent.certificate, parent.key
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	sealed, err := a.seal.close(der, certificate)
	if err != nil {
		return err
	}
	now := a.config.Now().UnixMicro()
	return a.db.Write(ctx, func(tx store.WriteTx) error {
		var number int64
		if parent != nil {
			if err := tx.QueryRow(`SELECT MAX(number) + 1 FROM authorities`).Scan(&number); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(`DELETE FROM authorities WHERE number > 0 AND expires_us < ?`, now); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO authorities (number, certificate, sealed_key, created_us, expires_us) VALUES (?, ?, ?, ?, ?) ON CONFLICT (number) DO NOTHING`,
			number, certificate, sealed, now, template.NotAfter.UnixMicro())
		return err
	})
}

// Rotate replaces the intermediate at once; usually it is replaced by itself after half of its life. Certificates that the one
// before has signed stay good, since planes trust the root.
func (a *Authority) Rotate(ctx context.Context) error {
	a.signing.Lock()
	defer a.signing.Unlock()
	return a.rotate(ctx)
}

func (a *Authority) rotate(ctx context.Context) error {
	sealed, err := a.read(ctx, `SELECT number, certificate, sealed_key FROM authorities WHERE number = 0`)
	if err != nil {
		return fmt.Errorf("read the root: %w", err)
	}
	root, err := sealed.open(a.seal) // its key is in memory for the length of this call
	if err != nil {
		return err
	}
	now := a.config.Now()
	template, err := a.template("Biplane intermediate "+now.UTC().Format(time.RFC3339), now.Add(a.config.IntermediateLife))
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.URIs = root.certificate.URIs
	if err := a.keep(ctx, template, root); err != nil {
		return fmt.Errorf("make an intermediate: %w", err)
	}
	if a.newest, err = a.load(ctx); err != nil {
		return err
	}
	a.server = nil
	if a.newest.number == 1 { // the very first
		return nil
	}
	a.config.Log.Info("certificates are signed by a new intermediate", "number", a.newest.number, "expires", a.newest.certificate.NotAfter)
	return nil
}

func (a *Authority) load(ctx context.Context) (*signer, error) {
	sealed, err := a.read(ctx, `SELECT number, certificate, sealed_key FROM authorities WHERE number > 0 ORDER BY number DESC LIMIT 1`)
	if err != nil {
		return nil, err
	}
	return sealed.open(a.seal)
}

// signer is the intermediate to sign with, replaced when it is due.
func (a *Authority) signer(ctx context.Context) (*signer, error) {
	a.signing.Lock()
	defer a.signing.Unlock()
	return a.current(ctx)
}

func (a *Authority) current(ctx context.Context) (*signer, error) {
	if a.newest != nil && !a.half(a.newest.certificate) {
		return a.newest, nil
	}
	// Another process may have replaced it already.
	newest, err := a.load(ctx)
	switch {
	case err == nil && !a.half(newest.certificate):
		a.newest, a.server = newest, nil
		return newest, nil
	case err != nil && !errors.Is(err, store.ErrNoRows):
		return nil, err
	}
	if err := a.rotate(ctx); err != nil {
		return nil, err
	}
	return a.newest, nil
}

// half says whether half of a certificate's life has gone by.
func (a *Authority) half(certificate *x509.Certificate) bool {
	return a.config.Now().After(certificate.NotBefore.Add(certificate.NotAfter.Sub(certificate.NotBefore) / 2))
}

func (a *Authority) template(name string, until time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := a.config.Now()
	until = until.Truncate(time.Second) // as the certificate says it
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-min(clockSlack, until.Sub(now)/10)), NotAfter: until,
	}, nil
}

// issue signs a leaf, and returns it with the intermediate, DER.
func (s *signer) issue(template *x509.Certificate, public crypto.PublicKey) ([][]byte, error) {
	if template.NotAfter.After(s.certificate.NotAfter) {
		template.NotAfter = s.certificate.NotAfter
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, s.certificate, public, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return [][]byte{leaf, s.certificate.Raw}, nil
}

// Bundle is what a plane must trust: the root, DER.
func (a *Authority) Bundle() [][]byte { return [][]byte{slices.Clone(a.root.Raw)} }

// Anchor is the root's fingerprint, which tokens carry.
func (a *Authority) Anchor() enrol.Fingerprint { return enrol.FingerprintOf(a.root) }

// publicKey reads a certificate request. Only keys that every TLS 1.3 peer takes are signed.
func publicKey(request []byte) (crypto.PublicKey, hash, error) {
	if len(request) > 16<<10 {
		return nil, hash{}, fault.Invalid("certificate_request", "is %d bytes long; at most 16 KiB are allowed", len(request))
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		return nil, hash{}, fault.Invalid("certificate_request", "is not a PKCS #10 request: %v", err)
	}
	key, ok := parsed.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, hash{}, fault.Invalid("certificate_request", "must be for an ECDSA key on P-256")
	}
	return key, sha256.Sum256(parsed.RawSubjectPublicKeyInfo), nil
}
