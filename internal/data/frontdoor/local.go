package frontdoor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// LocalConfig is what a plane needs to be its own authority.
type LocalConfig struct {
	// Folder of the authority's key and of the certificate with its key, both with mode 0600; made when missing.
	Folder string
	// Names are the host names and addresses to certify, at least one.
	Names []string
	// CAFile, unless it is empty, gets the authority's certificate, for clients to trust. Its folder must be there.
	CAFile string
	// Every is how often the files are looked at [1 h]. The certificate is made again when a third of its life is left.
	Every time.Duration
	Log   *slog.Logger
}

// Local is a Source that is its own authority: for a demo, whose names no public authority can certify. The authority's key is
// made in the folder and stays there, and it can certify the configured names only; other names are another authority.
type Local struct {
	config LocalConfig

	mu       sync.Mutex
	pair     *tls.Certificate
	problem  string
	failures int
}

// NewLocal makes the authority and the certificate, or takes what an earlier life has made.
func NewLocal(config LocalConfig) (*Local, error) {
	if len(config.Names) == 0 {
		return nil, fault.New(fault.KindPrecondition, "the front door's certificate needs at least one name")
	}
	if config.Every <= 0 {
		config.Every = time.Hour
	}
	l := &Local{config: config}
	pair, err := l.make(time.Now())
	if err != nil {
		return nil, fault.Wrap(err, fault.KindPrecondition, "the front door's certificate cannot be made in %s: %v", config.Folder, err)
	}
	l.pair = pair
	return l, nil
}

// make brings the files up to date, and gives the certificate.
func (l *Local) make(now time.Time) (*tls.Certificate, error) {
	if err := os.MkdirAll(l.config.Folder, 0o700); err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(l.config.Folder, name) }
	authority, err := l.file(path("authority.pem"),
		func(have *tls.Certificate) bool { return coversOnly(have, l.config.Names, now) },
		func() (*tls.Certificate, error) { return newAuthority(l.config.Names, now) })
	if err != nil {
		return nil, err
	}
	if l.config.CAFile != "" {
		want := chainPEM(authority.Certificate)
		if have, err := os.ReadFile(l.config.CAFile); err != nil || !bytes.Equal(have, want) {
			if err := writeFile(l.config.CAFile, want, 0o644); err != nil {
				return nil, err
			}
		}
	}
	return l.file(path("server.pem"),
		func(have *tls.Certificate) bool { return certifies(authority, have, l.config.Names, now) },
		func() (*tls.Certificate, error) { return certify(authority, l.config.Names, now) })
}

// file is the pair in a file, which is made again when it is not there, damaged, or does not serve.
func (l *Local) file(path string, serves func(*tls.Certificate) bool, make func() (*tls.Certificate, error)) (*tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if pair, err := tls.X509KeyPair(text, text); err == nil && serves(&pair) {
		return &pair, nil
	}
	pair, err := make()
	if err != nil {
		return nil, err
	}
	l.config.Log.Info("front door: the local authority has made a certificate", "file", path, "fingerprint", Fingerprint(pair.Leaf.Raw), "until", pair.Leaf.NotAfter)
	return pair, savePair(path, pair)
}

// Run implements Source.
func (l *Local) Run(ctx context.Context) {
	tick := time.NewTicker(l.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.look()
		case <-ctx.Done():
			return
		}
	}
}

func (l *Local) look() {
	pair, err := l.make(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.problem, l.failures = err.Error(), l.failures+1
		l.config.Log.Warn("front door: the local authority cannot renew the certificate; it is tried again", "error", err, "in", l.config.Every)
		return
	}
	l.pair, l.problem, l.failures = pair, "", 0
}

// Certificate implements Source.
func (l *Local) Certificate(name string) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name != "" && l.pair.Leaf.VerifyHostname(name) != nil {
		return nil, nil
	}
	return l.pair, nil
}

// Status implements Source.
func (l *Local) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := CertificateStatus{Names: l.config.Names, Problem: l.problem, Failures: l.failures}
	s.describe(l.pair)
	s.Next = renewAt(s.NotBefore, s.NotAfter)
	return Status{Kind: "local", Certificates: []CertificateStatus{s}}
}
