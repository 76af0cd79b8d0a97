package link

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/link/pace"
)

// serverSession is one connection's worth of the link, seen from the control plane. The handler's goroutine receives and
// stores; a second one sends. A blocked read or write is ended through the deadlines of the HTTP response.
type serverSession struct {
	server      *Server
	plane       Plane
	certificate *x509.Certificate
	from        string // its address
	stream      *connect.BidiStream[linkv1.FromPlane, linkv1.FromControl]
	response    *http.ResponseController
	ended       chan struct{}
	wake        chan struct{} // there is something to send

	mu       sync.Mutex
	finished bool  // the handler has returned
	stopped  error // why the session must end

	cursor  atomic.Int64 // stored for good; the sender acknowledges it
	ordered int64        // commands up to here were sent; used by the sender only
}

// stop ends the session from outside; the first reason counts.
func (s *serverSession) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == nil {
		s.stopped = why
	}
	if s.finished {
		return
	}
	past := time.Unix(1, 0)
	_ = s.response.SetReadDeadline(past)
	_ = s.response.SetWriteDeadline(past)
}

func (s *serverSession) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
}

func (s *serverSession) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// allow sets a deadline, unless the session has been stopped: then the past one stays.
func (s *serverSession) allow(set func(time.Time) error, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		return s.stopped
	}
	return set(time.Now().Add(d))
}

func (s *serverSession) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *serverSession) read(within time.Duration) (*linkv1.FromPlane, error) {
	if err := s.allow(s.response.SetReadDeadline, within); err != nil {
		return nil, err
	}
	message, err := s.stream.Receive()
	if err != nil {
		return nil, err
	}
	if cleared := Scrub(message); len(cleared) > 0 {
		s.server.log.Error("fields that do not look like their class were dropped", "plane", s.plane.String(), "fields", cleared)
	}
	return message, nil
}

func (s *serverSession) write(message *linkv1.FromControl) error {
	if err := s.allow(s.response.SetWriteDeadline, silentBeats*s.server.heartbeat); err != nil {
		return err
	}
	Scrub(message)
	return s.stream.Send(message)
}

func (s *serverSession) run(ctx context.Context, hello *linkv1.Hello) error {
	cursor, err := s.server.control.Hello(ctx, s.plane, hello)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	s.ordered = hello.GetCommandsApplied()
	s.cursor.Store(cursor)
	welcome := &linkv1.Welcome{Cursor: cursor, HeartbeatMs: s.server.heartbeat.Milliseconds()}
	if err := s.write(&linkv1.FromControl{Message: &linkv1.FromControl_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	s.server.log.Info("a plane's session has begun", "plane", s.plane.String(), "cursor", cursor, "head", hello.GetHealth().GetHead())

	sending, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := s.send(sending, cursor); err != nil && sending.Err() == nil {
			s.stop(err)
		}
	})
	err = s.receive(ctx)
	cancel()
	s.stop(err) // a blocked write ends: the handler may not return before its last write
	sender.Wait()
	return err
}

func (s *serverSession) receive(ctx context.Context) error {
	silence := silentBeats * s.server.heartbeat
	for {
		message, err := s.read(silence)
		if err != nil {
			return err
		}
		switch m := message.GetMessage().(type) {
		case *linkv1.FromPlane_Events:
			if err := inOrder(m.Events); err != nil {
				return connect.NewError(connect.CodeInvalidArgument, err)
			}
			cursor, err := s.server.control.Apply(ctx, s.plane, m.Events)
			if err != nil {
				return fmt.Errorf("apply events: %w", err)
			}
			s.cursor.Store(cursor)
			s.poke()
		case *linkv1.FromPlane_CommandsApplied:
			if err := s.server.control.CommandsApplied(ctx, s.plane, m.CommandsApplied.GetCursor()); err != nil {
				return fmt.Errorf("commands applied: %w", err)
			}
		case *linkv1.FromPlane_Health:
			if err := s.server.control.Heard(ctx, s.plane, m.Health); err != nil {
				return fmt.Errorf("heartbeat: %w", err)
			}
		}
	}
}

// inOrder refuses a batch that could move the cursor over something unsent.
func inOrder(batch *linkv1.Events) error {
	last := int64(0)
	for _, event := range batch.GetEvents() {
		if event.GetSeq() <= last {
			return fmt.Errorf("event %d comes after event %d", event.GetSeq(), last)
		}
		last = event.GetSeq()
	}
	if batch.GetThrough() < last {
		return fmt.Errorf("a batch that ends with event %d says that it goes through %d", last, batch.GetThrough())
	}
	return nil
}

func (s *serverSession) send(ctx context.Context, acknowledged int64) error {
	heartbeat := time.NewTimer(pace.Jittered(s.server.heartbeat))
	defer heartbeat.Stop()
	for {
		if cursor := s.cursor.Load(); cursor != acknowledged {
			if err := s.write(&linkv1.FromControl{Message: &linkv1.FromControl_EventsApplied{EventsApplied: &linkv1.EventsApplied{Cursor: cursor}}}); err != nil {
				return err
			}
			acknowledged = cursor
		}
		if err := s.sendCommands(ctx); err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-heartbeat.C:
			if err := s.write(&linkv1.FromControl{Message: &linkv1.FromControl_Heartbeat{Heartbeat: &linkv1.Heartbeat{}}}); err != nil {
				return err
			}
			heartbeat.Reset(pace.Jittered(s.server.heartbeat))
		case <-ctx.Done():
			return nil
		}
	}
}

// sendCommands sends what is queued above what was sent. How many may wait is bounded where they are queued.
func (s *serverSession) sendCommands(ctx context.Context) error {
	for {
		commands, err := s.server.control.Commands(ctx, s.plane, s.ordered, commandBatch)
		if err != nil || len(commands) == 0 {
			return err
		}
		if err := s.write(&linkv1.FromControl{Message: &linkv1.FromControl_Commands{Commands: &linkv1.Commands{Commands: commands}}}); err != nil {
			return err
		}
		s.ordered = commands[len(commands)-1].GetSeq()
	}
}
