package frontdoor_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/data/frontdoor"
)

// A site is a plane's front door behind a relay, with an ACME server that reaches it there.
type site struct {
	relay  *relay
	pebble *pebble
	config frontdoor.ACMEConfig
}

func newSite(t *testing.T, c pebbleConfig, names ...string) site {
	t.Helper()
	s := site{relay: startRelay(t)}
	c.tlsPort = s.relay.port
	s.pebble = startPebble(t, c)
	s.config = frontdoor.ACMEConfig{
		Directory: s.pebble.directory, CAFile: s.pebble.caFile, Names: names, Folder: filepath.Join(t.TempDir(), "acme"),
		Contact: []string{"mailto:ops@acme.example"}, Log: quiet(), FirstRetry: 10 * time.Millisecond,
	}
	return s
}

func (s site) source(t *testing.T) *frontdoor.ACME {
	t.Helper()
	source, err := frontdoor.NewACME(s.config)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// open opens the front door for these names, behind the relay.
func (s site) open(t *testing.T, source frontdoor.Source, names ...string) {
	t.Helper()
	door, _ := newDoor(t, frontdoor.Config{Source: source})
	serve(t, door.Listener(s.relay.tunnelTo(t, names...)))
}

func openACME(t *testing.T) candidate {
	names := []string{"plane.acme.example", "acme.example"}
	// Certificates that live for a few seconds renew themselves while the suite looks.
	s := newSite(t, pebbleConfig{validity: 12}, names...)
	source := s.source(t)
	s.open(t, source, names...)
	// No name leads nowhere at a relay; the suite's client without one wants the first all the same.
	s.relay.sessions[""] = s.relay.sessions[names[0]]
	run(t, source)
	return candidate{
		source: source, address: s.relay.address, names: names, roots: s.pebble.roots, folder: s.config.Folder,
		renew: func(*testing.T) {}, again: func(t *testing.T) frontdoor.Source { return s.source(t) },
	}
}

func TestTheAccountIsKnownAndKept(t *testing.T) {
	t.Parallel()
	const name = "plane.acme.example"
	s := newSite(t, pebbleConfig{}, name)
	source := s.source(t)
	s.open(t, source, name)
	stop := start(source)
	eventually(t, "the certificate", func() bool { return served(t, s.relay.address, name, s.pebble.roots) != "" })
	stop()
	first := source.Status()
	if !strings.HasPrefix(first.Account, strings.TrimSuffix(s.pebble.directory, "/dir")) || !slices.Equal(first.Issuers, []string{"pebble.example"}) {
		t.Errorf("the account is %q of %v", first.Account, first.Issuers)
	}
	certificate := first.Certificates[0]

	// The next life has the certificate at once and asks for nothing.
	before := s.pebble.requests.Load()
	again := s.source(t)
	stop = start(again)
	eventually(t, "its plan", func() bool { return !again.Status().Certificates[0].Next.IsZero() })
	stop()
	third := certificate.NotAfter.Sub(certificate.NotBefore) / 3
	if at := again.Status().Certificates[0].Next; at.After(certificate.NotAfter.Add(-third)) || at.Before(certificate.NotAfter.Add(-third-third/4)) {
		t.Errorf("%+v: will be renewed at %v", certificate, at)
	}
	if status := again.Status(); status.Certificates[0].Fingerprint != certificate.Fingerprint || s.pebble.requests.Load() != before {
		t.Errorf("after a restart %d requests were made, and the status is %+v", s.pebble.requests.Load()-before, status)
	}

	// A life that has lost the certificate, not the account, is the same account.
	kept, err := filepath.Glob(filepath.Join(s.config.Folder, "*.pem"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.WriteFile(kept[0], []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := s.source(t)
	s.open(t, lost, name)
	run(t, lost)
	eventually(t, "another certificate", func() bool { return lost.Status().Certificates[0].Fingerprint != "" })
	if got := lost.Status(); got.Account != first.Account || got.Certificates[0].Fingerprint == certificate.Fingerprint {
		t.Errorf("the account was %s and is %s", first.Account, got.Account)
	}
}

func TestFailuresAreToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	const good, bad = "plane.acme.example", "nowhere.acme.example"
	s := newSite(t, pebbleConfig{}, bad, good)
	source := s.source(t)
	s.open(t, source, good) // the relay does not know the other
	run(t, source)
	eventually(t, "the good name's certificate", func() bool { return served(t, s.relay.address, good, s.pebble.roots) != "" })
	eventually(t, "several failures of the other", func() bool { return source.Status().Certificates[0].Failures >= 2 })
	status := source.Status().Certificates[0]
	if !strings.Contains(status.Problem, bad) || status.Fingerprint != "" {
		t.Errorf("%+v", status)
	}
	if pair, err := source.Certificate(bad); pair != nil || err == nil || !strings.Contains(err.Error(), "no certificate yet") {
		t.Errorf("%v, %v", pair, err)
	}
	// When the name leads here, it heals by itself.
	s.open(t, source, bad)
	eventually(t, "the other's certificate", func() bool { return served(t, s.relay.address, bad, s.pebble.roots) != "" })
	if status := source.Status().Certificates[0]; status.Problem != "" || status.Failures != 0 {
		t.Errorf("%+v", status)
	}
}

func TestAServerThatIsAwayLeavesTheCertificate(t *testing.T) {
	t.Parallel()
	const name = "plane.acme.example"
	s := newSite(t, pebbleConfig{validity: 6}, name)
	s.pebble.away.Store(true)
	source := s.source(t)
	s.open(t, source, name)
	run(t, source)
	failed := func() bool { return source.Status().Certificates[0].Failures > 0 }
	eventually(t, "a failure", failed)
	if problem := source.Status().Certificates[0].Problem; !strings.Contains(problem, "does not answer") {
		t.Errorf("the problem is %q", problem)
	}
	// A name that is ours and has no certificate is another thing than a name that is not known.
	_, err := dial(t, s.relay.address, name, nil)
	wantAlert(t, err, "internal error")

	s.pebble.away.Store(false)
	eventually(t, "the certificate", func() bool { return source.Status().Certificates[0].Fingerprint != "" })
	first := source.Status().Certificates[0].Fingerprint
	s.pebble.away.Store(true)
	eventually(t, "a renewal that fails", failed)
	if pair, err := source.Certificate(name); err != nil || frontdoor.Fingerprint(pair.Leaf.Raw) != first {
		t.Errorf("while the server is away: %v", err)
	}
	s.pebble.away.Store(false)
	eventually(t, "the renewal", func() bool { return source.Status().Certificates[0].Fingerprint != first && !failed() })
}

func TestExternalAccount(t *testing.T) {
	t.Parallel()
	const name, keyID = "plane.acme.example", "kid-1"
	key := []byte("0123456789abcdef0123456789abcdef")
	s := newSite(t, pebbleConfig{keyID: keyID, macKey: base64.RawURLEncoding.EncodeToString(key)}, name)
	without := s.source(t)
	run(t, without)
	eventually(t, "a failure", func() bool { return without.Status().Certificates[0].Failures > 0 })
	if problem := without.Status().Certificates[0].Problem; !strings.Contains(problem, "wants an external account") {
		t.Errorf("the problem is %q", problem)
	}
	s.config.KeyID, s.config.MACKey = keyID, key
	s.config.Folder = filepath.Join(t.TempDir(), "acme")
	source := s.source(t)
	s.open(t, source, name)
	run(t, source)
	eventually(t, "the certificate", func() bool { return served(t, s.relay.address, name, s.pebble.roots) != "" })
}

func TestACMEConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := frontdoor.ACMEConfig{Names: []string{"plane.acme.example"}, Log: quiet()}
	for words, change := range map[string]func(*frontdoor.ACMEConfig){
		"not an https URL":   func(c *frontdoor.ACMEConfig) { c.Directory = "http://acme.example/dir" },
		"both its key id":    func(c *frontdoor.ACMEConfig) { c.KeyID = "kid" },
		"at least one":       func(c *frontdoor.ACMEConfig) { c.Names = nil },
		`"127.0.0.1"`:        func(c *frontdoor.ACMEConfig) { c.Names = []string{"127.0.0.1"} },
		`"localhost"`:        func(c *frontdoor.ACMEConfig) { c.Names = []string{"localhost"} },
		`"../../etc/passwd"`: func(c *frontdoor.ACMEConfig) { c.Names = []string{"../../etc/passwd"} },
		"holds no":           func(c *frontdoor.ACMEConfig) { c.CAFile = os.DevNull },
		"not an ECDSA key": func(c *frontdoor.ACMEConfig) {
			if _, err := frontdoor.NewACME(*c); err != nil {
				t.Error(err)
			}
			keys, _ := filepath.Glob(filepath.Join(c.Folder, "*.key"))
			if err := os.WriteFile(keys[0], []byte("torn"), 0o600); err != nil {
				t.Error(err)
			}
		},
	} {
		c := good
		c.Folder = t.TempDir()
		change(&c)
		if _, err := frontdoor.NewACME(c); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
