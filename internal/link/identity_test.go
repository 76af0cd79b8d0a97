package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/linktest"
	"biplane.dev/biplane/internal/link/linktest/localca"
)

// quiet is a control plane that knows nothing and remembers who came.
type quiet struct {
	mu     sync.Mutex
	hellos []link.Plane
	gone   int
}

func (q *quiet) Hello(_ context.Context, plane link.Plane, _ *linkv1.Hello) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.hellos = append(q.hellos, plane)
	return 0, nil
}
func (q *quiet) Apply(_ context.Context, _ link.Plane, events *linkv1.Events) (int64, error) {
	return events.GetThrough(), nil
}
func (q *quiet) Heard(context.Context, link.Plane, *linkv1.Health) error { return nil }
func (q *quiet) Gone(link.Plane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone++
}
func (q *quiet) Commands(context.Context, link.Plane, int64, int) ([]*linkv1.Command, error) {
	return nil, nil
}
func (q *quiet) CommandsApplied(context.Context, link.Plane, int64) error { return nil }

func (q *quiet) seen() (planes []link.Plane, gone int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append(planes, q.hellos...), q.gone
}

// site is a link's server with the authority that signs for it.
type site struct {
	t       *testing.T
	root    string
	ca      *localca.CA
	address string
	control *quiet
}

func newSite(t *testing.T) *site {
	t.Helper()
	control := &quiet{}
	s := newSiteFor(t, control, 500*time.Millisecond)
	s.control = control
	return s
}

func newSiteFor(t *testing.T, control link.Control, heartbeat time.Duration) *site {
	t.Helper()
	s := &site{t: t, root: t.TempDir()}
	s.ca = authority(t, filepath.Join(s.root, "ca"))
	folder := filepath.Join(s.root, "server")
	if err := s.ca.Server(folder, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s.address = linktest.Serve(t, link.NewServer(control, linktest.Circle{}, heartbeat, slog.New(slog.DiscardHandler)), folder)
	return s
}

func authority(t *testing.T, folder string) *localca.CA {
	t.Helper()
	ca, err := localca.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func (s *site) planeFiles(name string) string {
	s.t.Helper()
	folder := filepath.Join(s.root, "plane-"+name)
	if err := s.ca.Plane(folder, link.Plane{Org: "local", Name: name}); err != nil {
		s.t.Fatal(err)
	}
	return folder
}

func clientTLS(t *testing.T, folder string) *tls.Config {
	t.Helper()
	config, err := link.ClientTLS(folder)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// dial runs a link until stop is called; news are what it says of its state.
func (s *site) dial(config *tls.Config, maxWait time.Duration) (news chan error, stop func()) {
	s.t.Helper()
	source := linktest.Open(s.t, s.t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	news = make(chan error, 100)
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{Address: s.address, TLS: config, Source: source, Sink: source.Sink(), Log: slog.New(slog.DiscardHandler),
			FirstWait: time.Millisecond, MaxWait: maxWait, Status: func(err error) {
				select {
				case news <- err:
				default:
				}
			}})
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return news, stop
}

func TestAPlaneIsWhoItsCertificateSays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	news, stop := s.dial(clientTLS(t, s.planeFiles("here")), time.Second)
	if err := <-news; err != nil {
		t.Fatal(err)
	}
	stop()
	linktest.Eventually(t, "the session has ended", func() bool { _, gone := s.control.seen(); return gone == 1 })
	if planes, _ := s.control.seen(); len(planes) != 1 || planes[0] != (link.Plane{Org: "local", Name: "here"}) {
		t.Errorf("planes %v", planes)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := filepath.Join(t.TempDir(), "plane")
	if err := authority(t, t.TempDir()).Plane(other, link.Plane{Org: "local", Name: "here"}); err != nil {
		t.Fatal(err)
	}
	good := clientTLS(t, s.planeFiles("here"))
	foreign := good.Clone()
	foreign.GetClientCertificate = clientTLS(t, other).GetClientCertificate
	nobody := good.Clone()
	nobody.GetClientCertificate = nil
	server := good.Clone()
	server.GetClientCertificate = clientTLS(t, filepath.Join(s.root, "server")).GetClientCertificate
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, config := range map[string]*tls.Config{
		"a certificate of another authority":    foreign,
		"no certificate":                        nobody,
		"the server's own certificate":          server,
		"TLS 1.2":                               old,
		"a plane that trusts another authority": clientTLS(t, other),
	} {
		news, stop := s.dial(config, 10*time.Millisecond)
		for range 3 { // it tries again, and is refused again
			if err := <-news; err == nil {
				t.Errorf("%s: let in", name)
			}
		}
		stop()
	}
	if planes, _ := s.control.seen(); len(planes) > 0 {
		t.Errorf("planes %v came through", planes)
	}
}

func TestANewerSessionOfAPlaneEndsTheOlder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := clientTLS(t, s.planeFiles("here"))
	first, stop := s.dial(config, time.Hour)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	second, _ := s.dial(config, time.Hour)
	if err := <-first; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the older session ended with %v", err)
	}
	stop()
	if err := <-second; err != nil {
		t.Errorf("the newer session: %v", err)
	}
}

func TestWhereIsAskedBeforeEveryTry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := clientTLS(t, s.planeFiles("here"))
	source := linktest.Open(t, t.TempDir())
	answers := make(chan string, 3)
	answers <- "" // not there yet
	answers <- "127.0.0.1:1"
	answers <- s.address
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	news := make(chan error, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		link.Run(ctx, link.Config{Source: source, Sink: source.Sink(), Log: slog.New(slog.DiscardHandler), FirstWait: time.Millisecond, MaxWait: time.Millisecond,
			Status: func(err error) { news <- err },
			Where: func() (string, *tls.Config, error) {
				if address := <-answers; address != "" {
					return address, config, nil
				}
				return "", nil, errors.New("not there yet")
			}})
	}()
	for try, want := range []bool{false, false, true} {
		if err := <-news; (err == nil) != want {
			t.Errorf("try %d: %v", try, err)
		}
	}
	cancel()
	<-done
}
