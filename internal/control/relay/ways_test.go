package relay_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/relay"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/link/tunnel"
)

// broken is a session whose streams lead nowhere: they take bytes and never answer, or end at once.
type broken struct {
	done  chan struct{}
	hangs bool
	ends  []net.Conn
}

func (b *broken) Open(context.Context, *tunnelv1.Meta) (net.Conn, error) {
	near, far := net.Pipe()
	if !b.hangs {
		far.Close()
		return near, nil
	}
	b.ends = append(b.ends, far)
	go io.Copy(io.Discard, far)
	return near, nil
}

func (b *broken) Accept(context.Context) (net.Conn, *tunnelv1.Meta, error) {
	return nil, nil, net.ErrClosed
}
func (b *broken) Ping(context.Context) (time.Duration, error) { return time.Microsecond, nil }
func (b *broken) Drain(context.Context) error                 { return b.Close() }
func (b *broken) Done() <-chan struct{}                       { return b.done }
func (b *broken) Err() error                                  { return net.ErrClosed }
func (b *broken) Close() error {
	select {
	case <-b.done:
	default:
		close(b.done)
	}
	return nil
}

func TestAWayThatLeadsNowhereIsNotNoticed(t *testing.T) {
	t.Parallel()
	for what, hangs := range map[string]bool{"a session that hangs": true, "a session that ends streams": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			town := newTown(t)
			a := town.open("a", relay.Limits{AttemptTime: 100 * time.Millisecond, OpenTime: time.Minute, PingEvery: time.Hour}, door.Limits{})
			p := town.plane("east")
			bad := &broken{done: make(chan struct{}), hangs: hangs}
			held := make(chan error, 1)
			ctx, cancel := context.WithCancel(context.Background())
			go func() { held <- a.Hold(ctx, p.Plane, bad, time.Now().Add(time.Hour), func() error { return nil }) }()
			eventually(t, "the bad session is first", func() bool { return len(a.Sessions(p.Plane)) == 1 })
			if _, err := p.connect(a, p.host()); err == nil || !strings.Contains(err.Error(), "internal error") {
				t.Errorf("with nothing else: err %v", err)
			}
			if states := a.Sessions(p.Plane); !states[0].Doubt {
				t.Error("the session is not doubted")
			}
			p.dial(a, 1)
			p.serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") })
			for range 3 {
				if got, err := get(p.client(a, false), "https://"+p.host()); err != nil || got != "here" {
					t.Errorf("got %q, err %v", got, err)
				}
			}
			if states := a.Sessions(p.Plane); len(states) != 2 || states[0].Doubt || !states[1].Doubt {
				t.Errorf("sessions %+v", states)
			}
			cancel()
			<-held
			for _, end := range bad.ends {
				end.Close()
			}
		})
	}
}

func TestAPlaneThatIsNotThereAnyMoreIsWhatStillSays(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	revoked := errors.New("revoked")
	s := &broken{done: make(chan struct{})}
	err := a.Hold(t.Context(), p.Plane, s, time.Now().Add(time.Hour), func() error {
		if len(a.Sessions(p.Plane)) != 1 {
			t.Error("it is asked before the session could be cut")
		}
		return revoked
	})
	if !errors.Is(err, revoked) || len(a.Sessions(p.Plane)) != 0 {
		t.Errorf("err %v, sessions %v", err, a.Sessions(p.Plane))
	}
	<-s.Done()
	// A plane that another replica removed is noticed here, too.
	b := town.open("b", relay.Limits{PingEvery: time.Millisecond}, door.Limits{})
	s = &broken{done: make(chan struct{})}
	err = b.Hold(t.Context(), link.Plane{Org: "acme", Name: "removed-elsewhere"}, s, time.Now().Add(time.Hour), func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "removed") {
		t.Errorf("err %v", err)
	}
	// A session does not outlive its certificate.
	s = &broken{done: make(chan struct{})}
	if err := a.Hold(t.Context(), p.Plane, s, time.Now(), func() error { return nil }); err != nil {
		t.Errorf("err %v", err)
	}
	<-s.Done()
}

func TestAClientThatIsCutOffDoesNotLookEnded(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a, b := town.open("a", relay.Limits{}, door.Limits{}), town.open("b", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	town.registered(a, p)
	for _, through := range []*replica{a, b} {
		accepted := make(chan net.Conn)
		go func() {
			conn, err := p.listener.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- conn
		}()
		client, err := net.Dial("tcp", through.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(helloFor(t, p.host())); err != nil {
			t.Fatal(err)
		}
		server := <-accepted
		soon(t, server)
		if _, err := io.WriteString(server, "an answer"); err != nil {
			t.Fatal(err)
		}
		soon(t, client)
		if _, err := io.ReadFull(client, make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
		client.(*net.TCPConn).SetLinger(0)
		client.Close()
		if _, err := io.Copy(io.Discard, server); err == nil { // the hello, and then
			t.Errorf("through %s: the plane takes being cut off for an end", through.address)
		}
		server.Close()
	}
}

// helloFor is the first message of a client.
func helloFor(t *testing.T, name string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		tls.Client(far, &tls.Config{ServerName: name}).Handshake()
	}()
	raw := make([]byte, 16<<10)
	n, err := io.ReadAtLeast(near, raw, 5)
	if err != nil {
		t.Fatal(err)
	}
	size := 5 + int(raw[3])<<8 + int(raw[4])
	if _, err := io.ReadFull(near, raw[n:max(n, size)]); err != nil {
		t.Fatal(err)
	}
	return raw[:size]
}

func TestOnlyReplicasPassOn(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	config, err := link.ClientTLS(p.folder)
	if err != nil {
		t.Fatal(err)
	}
	config.ServerName, config.NextProtos = "127.0.0.1", []string{relay.PeerProtocol}
	config.InsecureSkipVerify = true // whom it meets is not what is asked here
	if conn, err := tls.Dial("tcp", a.address, config); err == nil {
		soon(t, conn)
		if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("a plane is taken for a replica; err %v", err)
		}
		conn.Close()
	}
	eventually(t, "it is refused", func() bool { return a.count("biplane_door_connections_total", "handshake") == 1 })

	// What replicas say is checked, too.
	self, err := town.authority.Replica("b")
	if err != nil {
		t.Fatal(err)
	}
	config = self.ClientTLS()
	config.NextProtos = []string{relay.PeerProtocol}
	for what, sent := range map[string][]byte{
		"too long":      {0xff, 0xff},
		"no message":    {0, 2, 0xff, 0xff},
		"empty":         {0, 0},
		"nothing":       nil,
		"no hello next": append([]byte{0, 29, 10, 4, 'a', 'c', 'm', 'e', 18, 4, 'e', 'a', 's', 't', 26, 15}, "192.0.2.1:12345GET / HTTP/1.1\r\n\r\n"...),
	} {
		conn, err := tls.Dial("tcp", a.address, config)
		if err != nil {
			t.Fatal(err)
		}
		soon(t, conn)
		conn.Write(sent)
		conn.CloseWrite()
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: %d bytes, err %v", what, n, err)
		}
		conn.Close()
	}
	eventually(t, "all are refused", func() bool { return a.count("biplane_relay_passed_total", "refused") == 5 })
}

func TestAnEncryptedHelloIsForThePlane(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := "secret-name.example.com"
	p.own = certificate(t, p.host(), secret)
	config := echConfig(key, p.host())
	list := cryptobyte.NewBuilder(nil)
	list.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(config) })
	go func() {
		conn, err := tls.NewListener(p.listener, &tls.Config{
			Certificates:             []tls.Certificate{p.own},
			EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{{Config: config, PrivateKey: key.Bytes()}},
		}).Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	conn, err := tls.Dial("tcp", a.address, &tls.Config{ServerName: secret, RootCAs: p.trusted(), EncryptedClientHelloConfigList: list.BytesOrPanic()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	soon(t, conn)
	if !conn.ConnectionState().ECHAccepted {
		t.Error("the plane did not get the inner hello")
	}
	io.WriteString(conn, "ping")
	if got := make([]byte, 4); true {
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
			t.Errorf("got %q, err %v", got, err)
		}
	}
	if seen := a.seen.all(); bytes.Contains(seen, []byte(secret)) || !bytes.Contains(seen, []byte(p.host())) {
		t.Error("the relay should see the outer name, and not the inner one")
	}
	if a.count("biplane_door_ech_total") != 1 {
		t.Error("it was not counted")
	}
}

// echConfig is an ECHConfig of RFC 9849.
func echConfig(key *ecdh.PrivateKey, public string) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint16(0xfe0d)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1)       // id
		b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(0x0001) // HKDF-SHA256
			b.AddUint16(0x0001) // AES-128-GCM
		})
		b.AddUint8(32) // longest name
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(public)) })
		b.AddUint16(0) // extensions
	})
	return b.BytesOrPanic()
}

var _ tunnel.Session = (*broken)(nil)
