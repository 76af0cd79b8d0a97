package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
)

// countingConn counts the bytes that are written to it.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestAnIdleSessionIsQuiet: T4. Ten thousand planes must not storm a relay with pings.
func TestAnIdleSessionIsQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		counted := &countingConn{Conn: near}
		plane, err := Client(counted, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer plane.Close()
		relay, err := Server(far, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		synctest.Wait()
		began := counted.writes.Load()
		time.Sleep(10 * time.Minute) // of the bubble's clock
		// A ping and an answer in 32 s at most, and what measures the round trip.
		if n := counted.writes.Load() - began; n < 8 || n > 50 {
			t.Errorf("the plane has written %d times in ten idle minutes", n)
		}
		if plane.Err() != nil {
			t.Errorf("the idle session has ended: %v", plane.Err())
		}
	})
}

// TestABadOpeningIsRefused: whatever a relay sends first, a plane refuses it in bounded time and the session goes on.
func TestABadOpeningIsRefused(t *testing.T) {
	t.Parallel()
	large, err := proto.Marshal(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: &tunnelv1.Meta{ServerName: strings.Repeat("x", maxOpening)}}})
	if err != nil {
		t.Fatal(err)
	}
	sized := func(n uint16, rest string) []byte { return append(binary.BigEndian.AppendUint16(nil, n), rest...) }
	for name, head := range map[string][]byte{
		"nothing":      nil,
		"half":         {0},
		"too large":    sized(uint16(len(large)), string(large)),
		"no message":   sized(3, "\xff\xff\xff"),
		"unknown kind": sized(0, ""),
		"cut short":    sized(100, "abc"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				plane, err := Client(near, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer plane.Close()
				relay := rawPeer(t, far, yamux.Server)
				defer relay.Close()
				stream, err := relay.OpenStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Write(head); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				// Others are not held up meanwhile: an opening that is good comes through.
				good, err := relay.OpenStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				head, err := frame(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: &tunnelv1.Meta{ServerName: "a.b"}}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := good.Write(head); err != nil {
					t.Fatal(err)
				}
				conn, _, err := plane.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("another flow was held up for %v", took)
				}
				var reset *yamux.StreamError
				if _, err := stream.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.ErrorCode != codeMalformed {
					t.Errorf("the plane says %v", err)
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("after %v", took)
				}
				conn.Close()
				good.Close()
				time.Sleep(time.Minute)
			})
		})
	}
}

// rawPeer is the other side of a session, without any of this package's rules.
func rawPeer(t *testing.T, conn net.Conn, make func(net.Conn, *yamux.Config, func() (yamux.MemoryManager, error)) (*yamux.Session, error)) *yamux.Session {
	t.Helper()
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	peer, err := make(conn, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// TestAPlaneThatHangsKeepsNoOpens: T2. Its multiplexer accepts streams, and nobody behind it does, nor drops them.
func TestAPlaneThatHangsKeepsNoOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		plane := rawPeer(t, near, yamux.Client)
		defer plane.Close()
		go func() {
			for {
				if _, err := plane.AcceptStream(); err != nil {
					return
				}
			}
		}()
		relay, err := start(far, Options{Waiting: 3}, true)
		if err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		for range 4 {
			began := time.Now()
			for i := range 3 {
				conn, err := relay.Open(t.Context(), &tunnelv1.Meta{})
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 { // the others do not even read
					go func() { _, _ = conn.Read(make([]byte, 1)) }()
				}
			}
			// There is no place for another until they have been given up.
			conn, err := relay.Open(t.Context(), &tunnelv1.Meta{})
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("the opens of before were given up after %v", took)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, ErrUnanswered) {
				t.Errorf("a read of what nobody took up: %v", err)
			}
			synctest.Wait()
			relay.mu.Lock()
			open := len(relay.open)
			relay.mu.Unlock()
			if open != 0 || len(relay.pending) != 0 {
				t.Fatalf("%d streams and %d pending are left", open, len(relay.pending))
			}
		}
	})
}

// TestARelayThatHangsKeepsNoPlaces: T2. It opens flows and never gives them up; the plane does, and says so.
func TestARelayThatHangsKeepsNoPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		plane, err := start(near, Options{Waiting: 3}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer plane.Close()
		relay := rawPeer(t, far, yamux.Server)
		defer relay.Close()
		for _, ms := range []int64{0, 2000} {
			head, err := frame(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: &tunnelv1.Meta{DeadlineMs: ms}}})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			for range 3 {
				stream, err := relay.OpenStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Write(head); err != nil {
					t.Fatal(err)
				}
				defer func() {
					var reset *yamux.StreamError
					if _, err := stream.Read(make([]byte, 1)); !errors.As(err, &reset) || reset.ErrorCode != codeUnanswered {
						t.Errorf("the plane says %v", err)
					}
				}()
			}
			want := 10 * time.Second
			if ms > 0 {
				want = time.Duration(ms) * time.Millisecond
			}
			time.Sleep(want - time.Second)
			queued := func() int {
				plane.mu.Lock()
				defer plane.mu.Unlock()
				return len(plane.queue)
			}
			if n := queued(); n != 3 {
				t.Errorf("%d flows wait after %v", n, time.Since(began))
			}
			time.Sleep(2 * time.Second)
			if n := queued(); n != 0 {
				t.Errorf("%d flows still wait after %v", n, time.Since(began))
			}
		}
	})
}

func TestTextsOfAnOpeningAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxText+1)
	for _, meta := range []*tunnelv1.Meta{{ServerName: long}, {ClientAddress: long}} {
		if _, err := frame(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: meta}}); err == nil {
			t.Error("a long text is sent")
		}
	}
	near, _ := net.Pipe()
	if _, err := Server(near, Options{Relay: long}); err == nil {
		t.Error("a long name of a relay is taken")
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection of a session that was not made is not closed: %v", err)
	}
	head, err := frame(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: &tunnelv1.Meta{ServerName: long[:maxText], ClientAddress: long[:maxText]}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readOpening(bytes.NewReader(head)); err != nil || got.GetMeta().GetServerName() != long[:maxText] {
		t.Errorf("the longest opening: %v", err)
	}
}

func TestWindowsGrowWithinTheBudget(t *testing.T) {
	t.Parallel()
	b := &budget{limit: 1000, gauge: unregistered().windows}
	first, _ := b.span()
	second, _ := b.span()
	for _, s := range []yamux.MemoryManager{first, second} {
		if err := s.ReserveMemory(firstWindow, certain); err != nil {
			t.Fatalf("a first window: %v", err)
		}
	}
	if err := first.ReserveMemory(600, 128); err != nil {
		t.Fatal(err)
	}
	if second.ReserveMemory(600, 128) == nil {
		t.Error("windows grow beyond the limit")
	}
	if err := second.ReserveMemory(400, 128); err != nil {
		t.Errorf("what is left: %v", err)
	}
	first.Done()
	first.Done()
	if err := second.ReserveMemory(600, 128); err != nil {
		t.Errorf("what the other has given back: %v", err)
	}
	if second.ReserveMemory(1, 128) == nil {
		t.Error("a second Done gives back again")
	}
	if first.ReserveMemory(1, 128) == nil {
		t.Error("a stream that has ended has grown")
	}
}

// TestEveryFieldHasAClass: what the control plane may know is decided by classes, in the tunnel too.
func TestEveryFieldHasAClass(t *testing.T) {
	t.Parallel()
	messages := tunnelv1.File_biplane_tunnel_v1_meta_proto.Messages()
	seen := 0
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			seen++
			class, _ := proto.GetExtension(fields.Get(j).Options(), linkv1.E_Class).(linkv1.Class)
			if class != linkv1.Class_CLASS_NAME && class != linkv1.Class_CLASS_STATE {
				t.Errorf("%s has class %v", fields.Get(j).FullName(), class)
			}
			if fields.Get(j).Kind() == protoreflect.BytesKind {
				t.Errorf("%s has bytes, which have no class", fields.Get(j).FullName())
			}
		}
	}
	if seen < 7 {
		t.Errorf("only %d fields were looked at", seen)
	}
}

func TestListenerGathersSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := NewListener("east.acme.example", 1, nil)
		var relays []Session
		served := make(chan error, 2)
		for range 2 {
			near, far := net.Pipe()
			plane, err := Client(near, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer plane.Close()
			relay, err := Server(far, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer relay.Close()
			relays = append(relays, relay)
			go func() { served <- listener.Serve(plane) }()
		}
		for i, relay := range relays {
			address := net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1}
			conn, err := relay.Open(t.Context(), &tunnelv1.Meta{ServerName: "east.acme.example", ClientAddress: address.String()})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.RemoteAddr().String() != address.String() {
				t.Errorf("a flow of %v comes from %v", &address, got.RemoteAddr())
			}
		}
		// One waits in the backlog, one in the hands of Serve, and Close ends them.
		var left []net.Conn
		for range 2 {
			conn, err := relays[0].Open(t.Context(), &tunnelv1.Meta{})
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, conn)
		}
		synctest.Wait()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-served; !errors.Is(err, net.ErrClosed) {
				t.Errorf("serve ended with %v", err)
			}
		}
		for _, conn := range left {
			if _, err := io.ReadAll(conn); err != nil {
				t.Errorf("a flow that nobody accepted: %v", err)
			}
			conn.Close()
		}
		if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		if err := listener.Serve(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve after close: %v", err)
		}
	})
}

// TestTheHelloNamesTheRelay: what Keep tells replicas apart by.
func TestTheHelloNamesTheRelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		plane, err := start(near, Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		defer plane.Close()
		relay, err := Server(far, Options{Relay: "relay-7"})
		if err != nil {
			t.Fatal(err)
		}
		defer relay.Close()
		<-plane.hello
		if plane.peer != "relay-7" {
			t.Errorf("the relay is %q", plane.peer)
		}
		if err := relay.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		<-plane.peerDrain
	})
}
