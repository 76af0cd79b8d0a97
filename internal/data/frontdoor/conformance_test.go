package frontdoor_test

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/frontdoor"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest/localca"
)

// A candidate is a source that the suite is held against, with a door in front of it.
type candidate struct {
	source  frontdoor.Source
	address string   // of a listener that leads to the door
	names   []string // that there is a certificate for, or will be
	roots   *x509.CertPool
	folder  string // where the source writes keys; empty when it writes none
	// renew makes the source get a new certificate, or waits until it has got one by itself.
	renew func(t *testing.T)
	// again is a new source on what this one has left.
	again func(t *testing.T) frontdoor.Source
}

// TestSources is what every source of certificates must do.
func TestSources(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) candidate{
		"files": openFiles, "local": openLocal, "acme": openACME,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t)
			eventually(t, "certificates", func() bool {
				return !slices.ContainsFunc(c.names, func(name string) bool { pair, err := c.source.Certificate(name); return err != nil || pair == nil })
			})
			c.serves(t)
			c.refuses(t)
			c.renews(t)
			c.keepsKeys(t)
			c.startsAgain(t)
		})
	}
}

func (c candidate) serves(t *testing.T) {
	first := ""
	for i, name := range c.names {
		conn, err := dial(t, c.address, name, c.roots, "h2", "http/1.1")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		state := conn.ConnectionState()
		if state.NegotiatedProtocol != "h2" || state.Version != tls.VersionTLS13 {
			t.Errorf("%s: protocol %q, TLS %x", name, state.NegotiatedProtocol, state.Version)
		}
		says(t, conn, "hello")
		got := frontdoor.Fingerprint(state.PeerCertificates[0].Raw)
		status := c.status(name)
		if status.Fingerprint != got || !status.NotAfter.Equal(state.PeerCertificates[0].NotAfter) || status.Issuer == "" || status.Problem != "" {
			t.Errorf("%s: served %s, status %+v", name, got, status)
		}
		if i == 0 {
			first = got
		}
		// Names are compared without case, and with or without the root's dot.
		if again := served(t, c.address, strings.ToUpper(name), c.roots); again != got {
			t.Errorf("%s in capitals: %s, want %s", name, again, got)
		}
	}
	// Without a name it is the first: a client that dials an address sends none.
	conn, err := dial(t, c.address, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := frontdoor.Fingerprint(conn.ConnectionState().PeerCertificates[0].Raw); got != first {
		t.Errorf("without a name: %s, want %s", got, first)
	}
}

func (c candidate) status(name string) frontdoor.CertificateStatus {
	for _, s := range c.source.Status().Certificates {
		if slices.Contains(s.Names, name) {
			return s
		}
	}
	return frontdoor.CertificateStatus{}
}

func (c candidate) refuses(t *testing.T) {
	if pair, err := c.source.Certificate("elsewhere.example"); pair != nil || err != nil {
		t.Errorf("a foreign name: %v, %v", pair, err)
	}
}

func (c candidate) renews(t *testing.T) {
	name := c.names[0]
	open, err := dial(t, c.address, name, c.roots)
	if err != nil {
		t.Fatal(err)
	}
	before := frontdoor.Fingerprint(open.ConnectionState().PeerCertificates[0].Raw)
	c.renew(t)
	eventually(t, "the new certificate", func() bool {
		got := served(t, c.address, name, c.roots)
		if got == "" {
			t.Fatalf("while %s was renewed a client got no good certificate", name)
		}
		return got != before
	})
	says(t, open, "still here")
}

// keepsKeys wants every file that holds a key to be the owner's alone.
func (c candidate) keepsKeys(t *testing.T) {
	if c.folder == "" {
		return
	}
	keys := 0
	err := filepath.WalkDir(c.folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "PRIVATE KEY") {
			return err
		}
		keys++
		info, err := entry.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || keys < 2 {
		t.Errorf("%d keys, %v", keys, err)
	}
}

func (c candidate) startsAgain(t *testing.T) {
	again := c.again(t)
	for _, name := range c.names {
		pair, err := again.Certificate(name)
		if err != nil || pair == nil {
			t.Errorf("%s after a restart: %v, %v", name, pair, err)
			continue
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: c.roots, Intermediates: pool(pair.Certificate[1:])}); err != nil {
			t.Errorf("%s after a restart: %v", name, err)
		}
	}
}

func pool(chain [][]byte) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, der := range chain {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(certificate)
		}
	}
	return pool
}

// direct puts a door with the source on a TCP port, as in direct mode.
func direct(t *testing.T, source frontdoor.Source) string {
	t.Helper()
	door, _ := newDoor(t, frontdoor.Config{Source: source})
	listener := door.Listener(listen(t))
	serve(t, listener)
	return listener.Addr().String()
}

func rootsOf(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", path)
	}
	return roots
}

// issuer is a tool like cert-manager: it puts certificates into files.
type issuer struct {
	ca     *localca.CA
	folder string
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	root := t.TempDir()
	ca, err := localca.Open(filepath.Join(root, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return issuer{ca: ca, folder: filepath.Join(root, "files")}
}

func (i issuer) path(name string) string { return filepath.Join(i.folder, name) }

// issue makes a pair for the names, a new one each time.
func (i issuer) issue(t *testing.T, names ...string) (certificate, key string) {
	t.Helper()
	for _, name := range []string{link.CertFile, link.KeyFile} {
		_ = os.Remove(i.path(name))
	}
	if err := i.ca.Server(i.folder, names...); err != nil {
		t.Fatal(err)
	}
	return i.path(link.CertFile), i.path(link.KeyFile)
}

func openFiles(t *testing.T) candidate {
	names := []string{"plane.acme.example", "acme.example"}
	issuer := newIssuer(t)
	certificate, key := issuer.issue(t, names...)
	config := frontdoor.FilesConfig{Certificate: certificate, Key: key, Every: 5 * time.Millisecond, Log: quiet()}
	again := func(t *testing.T) frontdoor.Source {
		source, err := frontdoor.NewFiles(config)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	source := again(t)
	run(t, source)
	return candidate{
		source: source, address: direct(t, source), names: names, roots: rootsOf(t, issuer.path(link.CAFile)),
		renew: func(t *testing.T) { issuer.issue(t, names...) }, again: again,
	}
}

func openLocal(t *testing.T) candidate {
	folder := t.TempDir()
	names := []string{"localhost", "127.0.0.1"}
	config := frontdoor.LocalConfig{Folder: folder, Names: names, CAFile: filepath.Join(t.TempDir(), "ca.crt"), Every: 5 * time.Millisecond, Log: quiet()}
	again := func(t *testing.T) frontdoor.Source {
		source, err := frontdoor.NewLocal(config)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
	source := again(t)
	run(t, source)
	return candidate{
		source: source, address: direct(t, source), names: names, roots: rootsOf(t, config.CAFile), folder: folder,
		renew: func(t *testing.T) {
			if err := os.Remove(filepath.Join(folder, "server.pem")); err != nil {
				t.Fatal(err)
			}
		},
		again: again,
	}
}
