package relay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"biplane.dev/biplane/internal/control/door"
	"biplane.dev/biplane/internal/control/relay"
)

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("From", r.RemoteAddr)
	io.Copy(w, r.Body)
}

func TestACallPassesUnreadAndUnchanged(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 2)
	p.serve(echo)
	marker := []byte("the-marker-that-only-the-plane-may-see")
	body := make([]byte, 3<<20)
	rand.Read(body)
	copy(body[1<<20:], marker)
	for _, http2 := range []bool{true, false} {
		answer, err := p.client(a, http2).Post("https://"+p.host()+"/"+string(marker), "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back of %d, or others; err %v", len(got), len(body), err)
		}
		if from := answer.Header.Get("From"); !strings.HasPrefix(from, "127.0.0.1:") || strings.HasSuffix(from, ":0") {
			t.Errorf("the plane sees a client at %q", from)
		}
	}
	seen := a.seen.all()
	if !bytes.Contains(seen, []byte(p.host())) || len(seen) < 4*len(body) {
		t.Errorf("the record of %d bytes is not what passed", len(seen))
	}
	if bytes.Contains(seen, marker) || bytes.Contains(seen, body[:64]) {
		t.Error("the relay saw what was said")
	}
	if up := a.count("biplane_relay_bytes_total", "up"); up < 2*3<<20 {
		t.Errorf("%v bytes were counted", up)
	}
}

func TestNamesLeadToPlanes(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	east, west := town.plane("east", "localhost"), town.plane("west")
	town.plane("away")
	east.dial(a, 1)
	east.serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "east") })
	for _, name := range []string{"east.acme." + zone, "EAST.acme." + zone, "acme." + zone, "localhost"} {
		if got, err := get(east.client(a, true), "https://"+name); err != nil || got != "east" {
			t.Errorf("%s leads to %q, err %v", name, got, err)
		}
	}
	for name, alert := range map[string]string{
		"north.acme." + zone:  "unrecognized name", // no such plane
		"east.other." + zone:  "unrecognized name",
		"other." + zone:       "unrecognized name",
		"x.east.acme." + zone: "unrecognized name",
		"example.com":         "unrecognized name",
		"away.acme." + zone:   "internal error", // it is known, and not here
	} {
		if _, err := east.connect(a, name); err == nil || !strings.Contains(err.Error(), alert) {
			t.Errorf("%s: err %v, want %s", name, err, alert)
		}
	}
	if away, unknown := a.count("biplane_door_connections_total", "plane_away"), a.count("biplane_door_connections_total", "unknown_name"); away != 1 || unknown != 5 {
		t.Errorf("%v away, %v unknown were counted", away, unknown)
	}
	// The organisation's name goes on leading somewhere.
	west.dial(a, 1)
	west.own = east.own
	west.serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "west") })
	east.leave()
	eventually(t, "east has left", func() bool { return len(a.Sessions(east.Plane)) == 0 })
	if got, err := get(east.client(a, true), "https://acme."+zone); err != nil || got != "west" {
		t.Errorf("acme leads to %q, err %v", got, err)
	}
}

func TestASessionThatDiesCutsItsClientsAtOnce(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	client := make(chan *tls.Conn)
	go func() {
		conn, err := p.connect(a, p.host())
		if err != nil {
			t.Error(err)
		}
		client <- conn
	}()
	server := p.accept()
	if _, err := io.WriteString(server, "half of an ans"); err != nil {
		t.Fatal(err)
	}
	conn := <-client
	if conn == nil {
		t.FailNow()
	}
	soon(t, conn)
	if _, err := io.ReadFull(conn, make([]byte, 14)); err != nil {
		t.Fatal(err)
	}
	a.Cut(p.Plane)
	_, err := conn.Read(make([]byte, 1))
	if err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("err %v, want one that cannot be taken for the end", err)
	}
	eventually(t, "it is counted", func() bool { return a.count("biplane_relay_streams_total", "reset") == 1 })
	eventually(t, "its place is free", func() bool { return a.count("biplane_relay_streams") == 0 })
}

func TestAClientThatGoesIsNoticedAtThePlane(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	gone := make(chan struct{})
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.host(), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := p.client(a, false).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	cancel()
	<-gone
}

func TestOneDirectionMayEndBeforeTheOther(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a, b := town.open("a", relay.Limits{}, door.Limits{}), town.open("b", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	town.registered(a, p)
	for _, through := range []*replica{a, b} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			server := p.accept()
			soon(t, server)
			asked, err := io.ReadAll(server)
			if err != nil {
				t.Errorf("the plane reads %q, err %v", asked, err)
			}
			io.WriteString(server, "you said "+string(asked))
			server.Close()
		}()
		conn, err := p.connect(through, p.host())
		if err != nil {
			t.Fatal(err)
		}
		soon(t, conn)
		io.WriteString(conn, "all there is")
		if err := errors.Join(conn.CloseWrite(), conn.NetConn().(*net.TCPConn).CloseWrite()); err != nil {
			t.Error(err)
		}
		if said, err := io.ReadAll(conn); err != nil || string(said) != "you said all there is" {
			t.Errorf("through %s: %q, err %v", through.address, said, err)
		}
		<-done
	}
	eventually(t, "they have ended well", func() bool {
		return a.count("biplane_relay_streams_total", "ok") == 2 && b.count("biplane_relay_streams_total", "ok") == 1 && a.count("biplane_relay_streams") == 0
	})
	if cut := a.count("biplane_relay_streams_total", "reset"); cut != 0 {
		t.Errorf("%v were reset", cut)
	}
}

func TestAReplicaWithoutASessionPassesOn(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a, b := town.open("a", relay.Limits{}, door.Limits{}), town.open("b", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	p.serve(echo)
	town.registered(a, p)
	body := make([]byte, 2<<20)
	rand.Read(body)
	for _, name := range []string{p.host(), "acme." + zone} {
		answer, err := p.client(b, true).Post("https://"+name, "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back, err %v", len(got), err)
		}
		if from := answer.Header.Get("From"); !strings.HasPrefix(from, "127.0.0.1:") {
			t.Errorf("the plane sees a client at %q", from)
		}
	}
	if a.count("biplane_relay_attempts_total", "session", "ok") != 2 || b.count("biplane_relay_attempts_total", "peer", "ok") != 2 {
		t.Error("it was not b that passed on to a")
	}
	// When the plane is gone, the other replica is told soon; until then it asks in vain, once.
	p.leave()
	if _, err := p.connect(b, p.host()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("err %v", err)
	}
}

func TestReplicasThatPointAtEachOtherDoNotLoop(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a, b := town.open("a", relay.Limits{}, door.Limits{}), town.open("b", relay.Limits{}, door.Limits{})
	p := town.plane("east")
	// Both believe that the other has a session.
	town.claim("a", p.Plane)
	town.claim("b", p.Plane)
	if _, err := p.connect(a, p.host()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("err %v", err)
	}
	if n := b.count("biplane_relay_passed_total", "refused"); n != 1 {
		t.Errorf("b was asked %v times", n)
	}
	if n := a.count("biplane_relay_passed_total", "refused"); n != 0 {
		t.Errorf("it came back to a %v times", n)
	}
}

func TestAPlaneThatIsRemovedIsCutAndStaysOut(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a, b := town.open("a", relay.Limits{PingEvery: 20 * time.Millisecond}, door.Limits{}), town.open("b", relay.Limits{}, door.Limits{})
	p := town.plane("east", "door.example.com")
	p.dial(b, 2)
	p.serve(echo)
	if err := town.authority.Remove(t.Context(), p.Plane, "me", func(tx storeTx) error { return town.fleet.Remove(tx, p.Plane) }); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Sessions(p.Plane)); n != 0 {
		// Hold may still be on its way out of a session that is closed.
		eventually(t, "the sessions are gone", func() bool { return len(b.Sessions(p.Plane)) == 0 })
	}
	refused := b.count("biplane_door_connections_total", "handshake")
	eventually(t, "it tries again, in vain", func() bool { return b.count("biplane_door_connections_total", "handshake") > refused+2 })
	if n := len(b.Sessions(p.Plane)); n != 0 {
		t.Errorf("%d sessions", n)
	}
	for _, name := range []string{p.host(), "door.example.com"} {
		if _, err := p.connect(a, name); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: err %v", name, err)
		}
	}
}

func TestAPlaneCarriesSoManyConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limits  relay.Limits
		outcome string
	}{
		{relay.Limits{Streams: 2}, "plane_busy"},
		{relay.Limits{AddressStreams: 2}, "plane_address_busy"},
	} {
		t.Run(c.outcome, func(t *testing.T) {
			t.Parallel()
			town := newTown(t)
			a := town.open("a", c.limits, door.Limits{})
			p := town.plane("east")
			p.dial(a, 2)
			p.serve(echo)
			var inside []net.Conn
			for range 2 {
				conn, err := p.connect(a, p.host())
				if err != nil {
					t.Fatal(err)
				}
				inside = append(inside, conn)
			}
			// Both sessions have one: the load is spread.
			if states := a.Sessions(p.Plane); states[0].Streams != 1 || states[1].Streams != 1 {
				t.Errorf("sessions %+v", states)
			}
			if _, err := p.connect(a, p.host()); err == nil {
				t.Error("a third was carried")
			}
			if a.count("biplane_door_connections_total", c.outcome) != 1 {
				t.Error("it was not counted")
			}
			inside[0].Close()
			eventually(t, "there is a place again", func() bool {
				_, err := p.connect(a, p.host())
				return err == nil
			})
		})
	}
}

func TestARelayThatStopsLetsConnectionsFinish(t *testing.T) {
	t.Parallel()
	for transport, dial := range map[string]func(*dataPlane, *replica){
		"TLS":       func(p *dataPlane, a *replica) { p.dial(a, 1) },
		"WebSocket": (*dataPlane).dialWebSocket,
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			stopsWell(t, dial)
		})
	}
}

func stopsWell(t *testing.T, dial func(*dataPlane, *replica)) {
	town := newTown(t)
	a := town.open("a", relay.Limits{Drain: time.Minute}, door.Limits{})
	p := town.plane("east")
	dial(p, a)
	begun, finish := make(chan struct{}), make(chan struct{})
	p.serve(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		close(begun)
		<-finish
		io.WriteString(w, "and last")
	})
	client := p.client(a, false)
	got := make(chan string, 1)
	go func() {
		body, err := get(client, "https://"+p.host())
		if err != nil {
			body = err.Error()
		}
		client.CloseIdleConnections()
		got <- body
	}()
	<-begun
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		a.stop()
	}()
	eventually(t, "the door is closed", func() bool {
		conn, err := net.Dial("tcp", a.address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(finish)
	if body := <-got; body != "first and last" {
		t.Errorf("body %q", body)
	}
	<-stopped
}

func TestARelayThatStopsCutsWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	town := newTown(t)
	a := town.open("a", relay.Limits{Drain: 10 * time.Millisecond}, door.Limits{})
	p := town.plane("east")
	p.dial(a, 1)
	p.serve(echo)
	conn, err := p.connect(a, p.host())
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	soon(t, conn)
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("err %v", err)
	}
}
