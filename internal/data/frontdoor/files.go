package frontdoor

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"biplane.dev/biplane/internal/fault"
)

// FilesConfig says which files hold the certificate.
type FilesConfig struct {
	// Certificate and Key are paths of PEM files: the chain, its leaf first, and the leaf's key.
	Certificate, Key string
	// Every is how often they are looked at [10 s].
	Every time.Duration
	Log   *slog.Logger
}

// Files is a Source of a certificate that somebody else keeps good, such as cert-manager.
type Files struct {
	config FilesConfig

	mu         sync.Mutex
	chain, key []byte // as they were when they were last looked at
	pair       *tls.Certificate
	problem    string
	failures   int
}

// NewFiles is a source on two files. They are read at once, so that a plane with good files has its certificate from the
// start; files that are not there or not good yet are no error: they are looked at again.
func NewFiles(config FilesConfig) (*Files, error) {
	if config.Certificate == "" || config.Key == "" {
		return nil, fault.New(fault.KindPrecondition, "the front door needs both files, that of the certificate and that of its key")
	}
	if config.Every <= 0 {
		config.Every = 10 * time.Second
	}
	f := &Files{config: config}
	f.look()
	return f, nil
}

// Run implements Source.
func (f *Files) Run(ctx context.Context) {
	tick := time.NewTicker(f.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.look()
		case <-ctx.Done():
			return
		}
	}
}

// look takes a new pair over when it is whole. Two files cannot be replaced in one step: a certificate with the key
// of another stays unused until both are there.
func (f *Files) look() {
	chain, err := os.ReadFile(f.config.Certificate)
	var key []byte
	if err == nil {
		key, err = os.ReadFile(f.config.Key)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.pair != nil && f.problem == "" && bytes.Equal(chain, f.chain) && bytes.Equal(key, f.key) {
		return
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = keyPair(chain, key, time.Now())
	}
	if err != nil {
		f.failures++
		if f.problem != err.Error() {
			f.config.Log.Warn("front door: the certificate's files cannot be used; what was there before stays", "certificate", f.config.Certificate, "key", f.config.Key, "error", err)
		}
		f.problem = err.Error()
		return
	}
	f.chain, f.key, f.pair, f.problem, f.failures = chain, key, pair, "", 0
	f.config.Log.Info("front door: certificate read", "names", namesOf(pair.Leaf), "fingerprint", Fingerprint(pair.Leaf.Raw), "until", pair.Leaf.NotAfter)
}

// Certificate implements Source.
func (f *Files) Certificate(name string) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.pair == nil:
		return nil, fault.New(fault.KindUnavailable, "%s", f.problem)
	case name != "" && f.pair.Leaf.VerifyHostname(name) != nil:
		return nil, nil
	}
	return f.pair, nil
}

// Status implements Source.
func (f *Files) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := CertificateStatus{Problem: f.problem, Failures: f.failures}
	if s.describe(f.pair); f.pair != nil {
		s.Names = namesOf(f.pair.Leaf)
	}
	return Status{Kind: "files", Certificates: []CertificateStatus{s}}
}
