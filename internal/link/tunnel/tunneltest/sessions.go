package tunneltest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
)

func (s *suite) open(relay tunnel.Session) net.Conn {
	s.Helper()
	conn, err := relay.Open(s.ctx, &tunnelv1.Meta{ServerName: "a.b"})
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	return conn
}

// unanswered: nobody accepts at the plane. Every flow ends by itself, whether its opener reads or not, and its place is free again.
func unanswered(s *suite) {
	const waiting = 4
	plane, relay := s.pair(tunnel.Options{Waiting: waiting, OpenTimeout: 200 * time.Millisecond})
	for round := range 3 {
		var conns []net.Conn
		for range waiting {
			conns = append(conns, s.open(relay))
		}
		if round == 0 {
			s.wantErr(conns[0], tunnel.ErrUnanswered)
		}
		for _, conn := range conns {
			s.until("a flow that nobody took up takes no more bytes", func() bool {
				_, err := conn.Write([]byte("x"))
				// The clocks of the two sides differ a little: to the plane, a flow of the round before may still wait.
				return errors.Is(err, tunnel.ErrUnanswered) || errors.Is(err, tunnel.ErrBusy)
			})
			conn.Close()
		}
	}
	// None of them is in the way of one that is taken up.
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			conn, _, err := plane.Accept(s.ctx)
			if err != nil {
				return
			}
			answering.Go(func() {
				defer conn.Close()
				_, _ = conn.Write([]byte("taken up"))
			})
		}
	})
	s.until("a flow is taken up again", func() bool {
		conn := s.open(relay)
		defer conn.Close()
		got, err := io.ReadAll(conn)
		return err == nil && string(got) == "taken up"
	})
	plane.Close()
	answering.Wait()
}

// openGivenUp: the places of those that wait to be taken up are all used; another waits, but not longer than it wants to.
func openGivenUp(s *suite) {
	plane, relay := s.pair(tunnel.Options{Waiting: 2})
	waiting := map[string]net.Conn{}
	for _, name := range []string{"a.b", "c.d"} {
		conn, err := relay.Open(s.ctx, &tunnelv1.Meta{ServerName: name})
		if err != nil {
			s.Fatal(err)
		}
		defer conn.Close()
		waiting[name] = conn
	}
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := relay.Open(ctx, &tunnelv1.Meta{}); !errors.Is(err, tunnel.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("an open too many ended with %v", err)
	}
	cancel()
	if _, err := relay.Open(ctx, &tunnelv1.Meta{}); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		s.Fatalf("an open with an ended context: %v", err)
	}
	for range waiting {
		inside, meta, err := plane.Accept(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		defer inside.Close()
		s.exchange(inside, waiting[meta.GetServerName()], "taken up")
	}
	s.echo(plane, relay)
}

// queueFull: the plane has a smaller queue than the relay thinks.
func queueFull(s *suite) {
	near, far := s.transport.Connect(s.T)
	plane, err := tunnel.Client(near, tunnel.Options{Waiting: 2})
	if err != nil {
		s.Fatal(err)
	}
	defer plane.Close()
	relay, err := tunnel.Server(far, tunnel.Options{})
	if err != nil {
		s.Fatal(err)
	}
	defer relay.Close()
	refused := make(chan error, 3)
	for range cap(refused) {
		conn := s.open(relay)
		defer conn.Close()
		s.limit(conn)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			refused <- err
		}()
	}
	select {
	case err := <-refused:
		if !errors.Is(err, tunnel.ErrBusy) {
			s.Errorf("one flow too many ended with %v", err)
		}
	case <-s.ctx.Done():
		s.Error("three flows fit into a queue for two")
	}
	for range 2 {
		conn, _, err := plane.Accept(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		conn.Close()
		if err := <-refused; !errors.Is(err, io.EOF) {
			s.Errorf("a flow that was taken up and closed ended with %v", err)
		}
	}
}

func streamsFull(s *suite) {
	plane, relay := s.pair(tunnel.Options{Streams: 3})
	var ends [][2]net.Conn
	for range 3 {
		inside, outside := s.flow(plane, relay)
		ends = append(ends, [2]net.Conn{inside, outside})
	}
	if _, err := relay.Open(s.ctx, &tunnelv1.Meta{}); !errors.Is(err, tunnel.ErrBusy) {
		s.Fatalf("a fourth flow: %v", err)
	}
	ends[0][0].Close()
	s.wantErr(ends[0][1], nil)
	ends[0][1].Close()
	var conn net.Conn
	s.until("the place of a flow that was closed is free", func() (ok bool) {
		var err error
		conn, err = relay.Open(s.ctx, &tunnelv1.Meta{})
		return err == nil
	})
	conn.Close()
	for _, end := range ends[1:] {
		end[0].Close()
		end[1].Close()
	}
}

func afterTheEnd(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	if err := inside.Close(); err != nil {
		s.Errorf("close: %v", err)
	}
	if _, err := inside.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		s.Errorf("a write after close: %v", err)
	}
	if _, err := inside.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		s.Errorf("a read after close: %v", err)
	}
	if err := inside.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
		s.Errorf("a deadline after close: %v", err)
	}
	_ = closeWrite(inside)
	if err := relay.Close(); err != nil {
		s.Errorf("close of the session: %v", err)
	}
	_ = relay.Close()
	if _, err := outside.Write([]byte("x")); err == nil {
		s.Error("a write in a session that has ended")
	}
	outside.Close()
	if _, err := relay.Open(s.ctx, &tunnelv1.Meta{}); err == nil {
		s.Error("an open in a session that has ended")
	}
	if !errors.Is(relay.Err(), net.ErrClosed) {
		s.Errorf("a session that was closed ended with %v", relay.Err())
	}
	if _, err := relay.Ping(s.ctx); err == nil {
		s.Error("a ping in a session that has ended")
	}
	s.ended(plane)
	if _, _, err := plane.Accept(s.ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("accept in a session that has ended: %v", err)
	}
	if err := plane.Drain(s.ctx); errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("drain of a session that has ended: %v", err)
	}
	// The wrong side.
	plane, relay = s.pair(tunnel.Options{})
	if _, err := plane.Open(s.ctx, &tunnelv1.Meta{}); err == nil {
		s.Error("a plane has opened a flow")
	}
	if _, _, err := relay.Accept(s.ctx); err == nil {
		s.Error("a relay has accepted a flow")
	}
}

func ping(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	for _, session := range []tunnel.Session{plane, relay} {
		if took, err := session.Ping(s.ctx); err != nil || took < 0 {
			s.Errorf("ping: %v, %v", took, err)
		}
	}
}

// deadPeer: the connection is there and nobody is at its other end.
func deadPeer(s *suite, relaySide bool) {
	near, far := s.transport.Connect(s.T)
	make, conn, silent := tunnel.Client, near, far
	if relaySide {
		make, conn, silent = tunnel.Server, far, near
	}
	defer silent.Close()
	session, err := make(conn, tunnel.Options{KeepAlive: 50 * time.Millisecond, WriteTimeout: 100 * time.Millisecond})
	if err != nil {
		s.Fatal(err)
	}
	defer session.Close()
	s.ended(session)
}

// connectionEnds: all who wait in a session hear of its end.
func connectionEnds(s *suite) {
	near, far := s.transport.Connect(s.T)
	plane, relay := s.over(near, far, tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	const waiters = 4
	ended := make(chan error, waiters)
	go func() { _, err := inside.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := outside.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := outside.Write(make([]byte, 2*window)); ended <- err }()
	go func() { _, _, err := plane.Accept(s.ctx); ended <- err }()
	far.Close()
	for range waiters {
		select {
		case err := <-ended:
			// The reader inside may have read a byte before.
			if err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF)) {
				s.Errorf("someone who waited got %v", err)
			}
		case <-s.ctx.Done():
			s.Fatal("someone still waits")
		}
	}
	s.ended(plane)
	s.ended(relay)
}

func drainWaits(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	drained := make(chan error, 1)
	go func() { drained <- relay.Drain(s.ctx) }()
	s.until("no new flow", func() bool {
		conn, err := relay.Open(s.ctx, &tunnelv1.Meta{})
		if err == nil { // before the drain began; it waits for this one too
			taken, _, err := plane.Accept(s.ctx)
			if err != nil {
				s.Fatal(err)
			}
			taken.Close()
			conn.Close()
		}
		return errors.Is(err, tunnel.ErrDraining)
	})
	s.exchange(outside, inside, "an open flow goes on")
	select {
	case err := <-drained:
		s.Fatalf("the drain did not wait: %v", err)
	default:
	}
	inside.Close()
	s.wantErr(outside, nil)
	outside.Close()
	select {
	case err := <-drained:
		if err != nil {
			s.Errorf("drain: %v", err)
		}
	case <-s.ctx.Done():
		s.Fatal("the drain does not end")
	}
	s.ended(plane)
	s.ended(relay)
}

func drainResets(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	defer inside.Close()
	defer outside.Close()
	ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
	defer cancel()
	if err := relay.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("drain with a flow left: %v", err)
	}
	s.wantErr(inside, tunnel.ErrReset)
	s.wantErr(outside, tunnel.ErrReset)
	s.ended(plane)
}

// planeDrains: the relay hears of it and asks another session.
func planeDrains(s *suite) {
	plane, relay := s.pair(tunnel.Options{})
	inside, outside := s.flow(plane, relay)
	drained := make(chan error, 1)
	go func() { drained <- plane.Drain(s.ctx) }()
	s.until("no new flow", func() bool {
		conn, err := relay.Open(s.ctx, &tunnelv1.Meta{})
		if err == nil { // on its way before the news
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				s.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, tunnel.ErrDraining) && !errors.Is(err, tunnel.ErrUnanswered) {
				s.Errorf("a flow that came while the plane drains: %v", err)
			}
			conn.Close()
		}
		return errors.Is(err, tunnel.ErrDraining)
	})
	s.exchange(inside, outside, "an open flow goes on")
	inside.Close()
	s.wantErr(outside, nil)
	outside.Close()
	if err := <-drained; err != nil {
		s.Errorf("drain: %v", err)
	}
}
