package tunneltest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
)

// Transport makes the two ends of a connection, as a plane has dialled it and as a relay has accepted it.
type Transport struct {
	Connect func(t *testing.T) (plane, relay net.Conn)
	// Bubble says that the transport has no file descriptor, so that the clock of the tests can be a false one.
	Bubble bool
}

// patience is how long a test may take on a machine that is busy with other things.
const patience = time.Minute

// Run runs every case over the transport.
func Run(t *testing.T, transport Transport) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// No t.Parallel: goroutines of another case would look like leaks of this one.
			run := func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				c.run(&suite{T: t, ctx: ctx, transport: transport})
			}
			if transport.Bubble {
				synctest.Test(t, run) // fails by itself when a goroutine is left
				return
			}
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the first here is the last to run
			run(t)
		})
	}
}

type testCase struct {
	name string
	run  func(*suite)
}

var cases = []testCase{
	{"flow carries both ways", bothWays},
	{"meta and addresses arrive", metaArrives},
	{"many flows at once keep their bytes apart", manyFlows},
	{"T1 stalled downloads hold up nobody", func(s *suite) { stalled(s, true) }},
	{"T1 stalled uploads hold up nobody", func(s *suite) { stalled(s, false) }},
	{"T2 opens that nobody takes up end and are not kept", unanswered},
	{"T2 an open that is given up leaves nothing", openGivenUp},
	{"T2 more flows than may wait are refused", queueFull},
	{"T2 more flows than may be open are refused", streamsFull},
	{"T3 a write that failed is a reset at both ends", failedWrite},
	{"T3 a close is noticed by whoever writes", closeIsNoticed},
	{"T6 half-close carries an answer", halfClose},
	{"T6 half-closed for too long is a reset at both ends", func(s *suite) { halfClosedTooLong(s, true) }},
	{"T6 half-closed by the plane for too long is a reset at both ends", func(s *suite) { halfClosedTooLong(s, false) }},
	{"T9 use after the end is an error", afterTheEnd},
	{"T9 everything at once", everythingAtOnce},
	{"deadlines lose nothing", deadlines},
	{"a deadline wakes a reader", deadlineWakes},
	{"two writers share a window", twoWriters},
	{"two readers both see the end", twoReaders},
	{"what was written before close arrives", writtenBeforeClose},
	{"ping", ping},
	{"a dead relay is noticed", func(s *suite) { deadPeer(s, false) }},
	{"a dead plane is noticed", func(s *suite) { deadPeer(s, true) }},
	{"the end of the connection ends everything", connectionEnds},
	{"drain waits for open flows", drainWaits},
	{"drain resets what is left", drainResets},
	{"a plane that drains is not asked", planeDrains},
}

// suite is one case under way.
type suite struct {
	*testing.T
	ctx       context.Context
	transport Transport
}

// pair makes the two sides of a session; they are closed when the case ends.
func (s *suite) pair(o tunnel.Options) (plane, relay tunnel.Session) {
	s.Helper()
	near, far := s.transport.Connect(s.T)
	return s.over(near, far, o)
}

func (s *suite) over(near, far net.Conn, o tunnel.Options) (plane, relay tunnel.Session) {
	s.Helper()
	plane, err := tunnel.Client(near, o)
	if err != nil {
		s.Fatal(err)
	}
	relay, err = tunnel.Server(far, o)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		plane.Close()
		relay.Close()
	})
	return plane, relay
}

// flow opens a flow and takes it up.
func (s *suite) flow(plane, relay tunnel.Session) (inside, outside net.Conn) {
	s.Helper()
	outside, err := relay.Open(s.ctx, &tunnelv1.Meta{ServerName: "a.b"})
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	inside, _, err = plane.Accept(s.ctx)
	if err != nil {
		s.Fatalf("accept: %v", err)
	}
	return inside, outside
}

// echo sends a message through a flow of its own and back.
func (s *suite) echo(plane, relay tunnel.Session) {
	s.Helper()
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	s.exchange(outside, inside, "there")
	s.exchange(inside, outside, "and back")
}

func (s *suite) exchange(from, to net.Conn, message string) {
	s.Helper()
	s.limit(from, to)
	if _, err := from.Write([]byte(message)); err != nil {
		s.Fatalf("write: %v", err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(to, got); err != nil {
		s.Fatalf("read: %v", err)
	}
	if string(got) != message {
		s.Fatalf("got %q, want %q", got, message)
	}
}

// limit bounds what would hang if the implementation were wrong.
func (s *suite) limit(conns ...net.Conn) {
	s.Helper()
	deadline, _ := s.ctx.Deadline()
	for _, conn := range conns {
		if err := conn.SetDeadline(deadline); err != nil {
			s.Fatal(err)
		}
	}
}

// wantErr reads until there is an error, and wants a certain one.
func (s *suite) wantErr(conn net.Conn, want error) {
	s.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{conn}); !errors.Is(err, want) {
		s.Fatalf("the read ended with %v, want %v", err, want)
	}
}

// until waits for a condition; it must become true by itself.
func (s *suite) until(what string, true func() bool) {
	s.Helper()
	for !true() {
		select {
		case <-s.ctx.Done():
			s.Fatalf("%s: not after %v", what, patience)
		case <-time.After(time.Millisecond):
		}
	}
}

// ended waits for the end of a session.
func (s *suite) ended(session tunnel.Session) {
	s.Helper()
	select {
	case <-session.Done():
	case <-s.ctx.Done():
		s.Fatal("the session did not end")
	}
	if session.Err() == nil {
		s.Fatal("the session ended without a reason")
	}
}
