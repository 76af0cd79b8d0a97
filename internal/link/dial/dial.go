package dial

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"

	"biplane.dev/biplane/internal/fault"
)

// DefaultTimeout bounds one dial: looking up the name, every address tried, and the exchange with the proxy.
const DefaultTimeout = 20 * time.Second

// Func dials, as net.Dialer.DialContext does. network is "tcp", address is host:port.
type Func func(ctx context.Context, network, address string) (net.Conn, error)

// Config says how to get out.
type Config struct {
	// HTTPSProxy is the URL of an HTTP proxy, with user and password where it wants them:
	// http://user:password@proxy:3128, or https:// for a proxy that is reached over TLS. "" is no proxy.
	HTTPSProxy string
	// NoProxy lists what is reached directly, by the usual rules of NO_PROXY. Loopback always is.
	NoProxy string
	// CAFiles hold certificates (PEM) that are trusted in addition to the system's.
	CAFiles []string
	Timeout time.Duration // 0: DefaultTimeout
	// Resolver looks names up. nil: the system's.
	Resolver *net.Resolver
}

// Environment is the Config that HTTPS_PROXY and NO_PROXY (or their lower-case forms) stand for, with these CA files.
func Environment(caFiles ...string) Config {
	environment := httpproxy.FromEnvironment()
	return Config{HTTPSProxy: environment.HTTPSProxy, NoProxy: environment.NoProxy, CAFiles: caFiles}
}

// Dialer dials by its Config. It is safe for concurrent use.
type Dialer struct {
	net     net.Dialer
	timeout time.Duration
	roots   *x509.CertPool
	proxy   func(*url.URL) (*url.URL, error)
}

// New checks the Config; a proxy's URL that cannot be used and a CA file that cannot be read are faults of KindInvalid.
func New(c Config) (*Dialer, error) {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	roots, err := authorities(c.CAFiles)
	if err != nil {
		return nil, err
	}
	d := &Dialer{
		// The addresses of both families are tried, IPv6 first, with a head start of 300 ms.
		net:     net.Dialer{Resolver: c.Resolver, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4}},
		timeout: c.Timeout,
		roots:   roots,
		proxy:   (&httpproxy.Config{HTTPSProxy: c.HTTPSProxy, NoProxy: c.NoProxy}).ProxyFunc(),
	}
	if c.HTTPSProxy != "" {
		// The rules take no account of a URL that they cannot read; connections would go past the proxy.
		every := &Dialer{proxy: (&httpproxy.Config{HTTPSProxy: c.HTTPSProxy}).ProxyFunc()}
		if way, err := every.way("biplane.invalid:443"); err != nil {
			return nil, err
		} else if way == nil {
			return nil, unreadable()
		}
	}
	return d, nil
}

func authorities(files []string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("the system's certificates: %w", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.Invalid("ca_file", "cannot be read: %v", err)
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fault.Invalid("ca_file", "%s holds no certificate; PEM is expected, beginning with -----BEGIN CERTIFICATE-----", file)
		}
	}
	return pool, nil
}

// Roots are the system's authorities and those of the CA files. The caller must not change the pool.
func (d *Dialer) Roots() *x509.CertPool { return d.roots }

// Dial is a Func. It takes the proxy where the rules say so; then the proxy looks the name up. Faults say what the proxy
// refused and what helps; they are of KindDenied when trying again without a change is pointless, else of KindUnavailable.
func (d *Dialer) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	proxy, err := d.way(address)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		conn, err := d.net.DialContext(ctx, network, address)
		if err != nil {
			return nil, fault.Wrap(err, fault.KindUnavailable, "%s cannot be reached: %v", address, err)
		}
		return conn, nil
	}
	return d.through(ctx, proxy, address)
}

// way is the proxy for the address, nil for none. What the rules' own errors say would repeat the URL and so the password.
func (d *Dialer) way(address string) (*url.URL, error) {
	proxy, err := d.proxy(&url.URL{Scheme: "https", Host: address})
	switch {
	case err != nil:
		return nil, unreadable()
	case proxy == nil:
		return nil, nil
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fault.Invalid("HTTPS_PROXY", "has the scheme %q; http and https can be used", proxy.Scheme)
	case proxy.Hostname() == "":
		return nil, fault.Invalid("HTTPS_PROXY", "names no host; it should look like http://user:password@host:port")
	}
	return proxy, nil
}

func unreadable() error {
	return fault.Invalid("HTTPS_PROXY", "is not a URL; it should look like http://user:password@host:port, with special characters of the password written as %%XX")
}
