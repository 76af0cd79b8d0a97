package frontdoor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"biplane.dev/biplane/internal/fault"
)

// ACMEConfig is what a plane needs to get certificates from a public, or a company's, authority.
type ACMEConfig struct {
	// Directory is the URL of the server's directory. Default: Let's Encrypt.
	Directory string
	// Names are the host names to certify, at least one; each gets a certificate of its own.
	Names []string
	// Folder keeps the account's key and the certificates with their keys, all with mode 0600; made when missing.
	Folder string
	// Contact are addresses for the authority's mail, such as "mailto:ops@example.com".
	Contact []string
	// KeyID and MACKey bind the account to one that the authority knows already (external account binding); both or none.
	KeyID  string
	MACKey []byte
	// CAFile holds the authorities that the ACME server's own certificate comes from. Default: those of the system.
	CAFile string
	Log    *slog.Logger

	// FirstRetry is the wait after a failure, doubled after each further one up to 6 h [2 min].
	FirstRetry time.Duration
	// IssueTime is how long one try may take [5 min].
	IssueTime time.Duration
}

// ACME is a Source of certificates that are got by ACME (RFC 8555). That a name leads here is proved by TLS-ALPN-01
// (RFC 8737) on the door's own listener, so nothing else has to be reachable, and the relay carries it like any other
// connection.
//
// The proof works only if a connection for the name reaches this very plane. A name that leads to any of several planes
// needs files.
type ACME struct {
	config ACMEConfig
	http   *http.Client
	now    func() time.Time
	orders []*order // one for each name

	accounts chan *account // holds the one account while nobody uses it
	mu       sync.Mutex
	who      identity // what Status tells of the account
	proofs   map[string]*tls.Certificate
}

type identity struct {
	uri     string
	issuers []string
}

// An order is one name's certificate, and when it is to be asked for.
type order struct {
	name string

	mu      sync.Mutex
	pair    *tls.Certificate
	history history
	problem string
	next    time.Time
}

// NewACME takes what an earlier life has left in the folder. It does not talk to the server: Run does.
func NewACME(config ACMEConfig) (*ACME, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	client, err := config.client()
	if err != nil {
		return nil, err
	}
	a := &ACME{config: config, http: client, now: time.Now, accounts: make(chan *account, 1), proofs: map[string]*tls.Certificate{}}
	if err := os.MkdirAll(config.Folder, 0o700); err != nil {
		return nil, fault.Wrap(err, fault.KindPrecondition, "the folder of the front door's certificates cannot be made: %v", err)
	}
	key, err := loadAccountKey(config.accountPath())
	if err != nil {
		return nil, err
	}
	a.accounts <- &account{key: key}
	for _, name := range config.Names {
		o := &order{name: canonical(name)}
		if o.pair, err = loadPair(config.pairPath(o.name), a.now()); err != nil {
			// It is only a copy of what the authority gives again.
			config.Log.Warn("front door: a kept certificate cannot be used; another is asked for", "name", o.name, "error", err)
		}
		if o.pair != nil {
			o.history.notBefore, o.history.notAfter = o.pair.Leaf.NotBefore, o.pair.Leaf.NotAfter
		}
		a.orders = append(a.orders, o)
	}
	return a, nil
}

func (c *ACMEConfig) check() error {
	if c.Directory == "" {
		c.Directory = acme.LetsEncryptURL
	}
	if c.FirstRetry <= 0 {
		c.FirstRetry = firstRetry
	}
	if c.IssueTime <= 0 {
		c.IssueTime = 5 * time.Minute
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fault.New(fault.KindPrecondition, "the ACME directory %q is not an https URL", c.Directory)
	}
	if (c.KeyID == "") != (len(c.MACKey) == 0) {
		return fault.New(fault.KindPrecondition, "an external ACME account needs both its key id and its MAC key")
	}
	if len(c.Names) == 0 {
		return fault.New(fault.KindPrecondition, "ACME needs the names of the front door; name at least one")
	}
	for _, name := range c.Names {
		if !isHost(canonical(name)) {
			return fault.New(fault.KindPrecondition, "%q is not a host name that ACME can certify", name)
		}
	}
	return nil
}

// isHost says whether a public authority could certify the name: at least two labels, the last of which is no number. It becomes
// part of a file's name.
func isHost(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	last := labels[len(labels)-1]
	return len(labels) > 1 && len(name) <= 200 && strings.Trim(last, "0123456789") != ""
}

// client talks to the ACME server, through the proxy of the environment when there is one.
func (c *ACMEConfig) client() (*http.Client, error) {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
	}
	if c.CAFile != "" {
		authorities, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fault.Wrap(err, fault.KindPrecondition, "the authorities of the ACME server cannot be read: %v", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(authorities) {
			return nil, fault.New(fault.KindPrecondition, "%s holds no certificate", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}, nil
}

// Run implements Source: each name is kept by a loop of its own, so that one whose proof fails holds up no other.
func (a *ACME) Run(ctx context.Context) {
	defer a.http.CloseIdleConnections()
	var names sync.WaitGroup
	for _, o := range a.orders {
		names.Go(func() { a.keep(ctx, o) })
	}
	names.Wait()
}

func (a *ACME) keep(ctx context.Context, o *order) {
	for {
		wait := time.NewTimer(o.plan(a.config.FirstRetry, rand.Float64()).Sub(a.now()))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		began := a.now()
		trying, cancel := context.WithTimeout(ctx, a.config.IssueTime)
		pair, err := a.issue(trying, o.name)
		cancel()
		if ctx.Err() != nil {
			return
		}
		o.tried(began, pair, err)
		if err != nil {
			a.config.Log.Warn("front door: no new certificate; it is tried again", "name", o.name, "error", err)
			continue
		}
		a.config.Log.Info("front door: new certificate", "name", o.name, "fingerprint", Fingerprint(pair.Leaf.Raw), "until", pair.Leaf.NotAfter)
	}
}

// plan decides when the certificate is asked for next.
func (o *order) plan(first time.Duration, jitter float64) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = next(o.history, first, jitter)
	return o.next
}

// tried notes how a try ended.
func (o *order) tried(at time.Time, pair *tls.Certificate, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := &o.history
	h.lastTry, h.askedToWait = at, 0
	if err != nil {
		h.failures++
		o.problem = err.Error()
		var refusal *acme.Error
		if errors.As(err, &refusal) {
			h.askedToWait, _ = acme.RateLimit(refusal)
		}
		return
	}
	o.pair, o.problem, h.failures = pair, "", 0
	h.notBefore, h.notAfter = pair.Leaf.NotBefore, pair.Leaf.NotAfter
}

// Certificate implements Source.
func (a *ACME) Certificate(name string) (*tls.Certificate, error) {
	for i, o := range a.orders {
		if o.name != name && (i > 0 || name != "") {
			continue
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.pair == nil {
			return nil, fault.New(fault.KindUnavailable, "%s has no certificate yet: %s", o.name, o.problem)
		}
		return o.pair, nil
	}
	return nil, nil
}

// Status implements Source.
func (a *ACME) Status() Status {
	a.mu.Lock()
	s := Status{Kind: "acme", Account: a.who.uri, Issuers: a.who.issuers}
	a.mu.Unlock()
	for _, o := range a.orders {
		o.mu.Lock()
		c := CertificateStatus{Names: []string{o.name}, Problem: o.problem, Failures: o.history.failures, Next: o.next}
		c.describe(o.pair)
		o.mu.Unlock()
		s.Certificates = append(s.Certificates, c)
	}
	return s
}

func (a *ACME) proof(name string) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.proofs[name]
}

func (a *ACME) setProof(name string, certificate *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if certificate == nil {
		delete(a.proofs, name)
		return
	}
	a.proofs[name] = certificate
}
