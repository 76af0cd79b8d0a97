package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/gen/biplane/link/v1/linkv1connect"
	"biplane.dev/biplane/internal/link/dial"
	"biplane.dev/biplane/internal/link/pace"
)

// Config is what a data plane needs for its link.
type Config struct {
	Address string      // host:port of the control plane
	TLS     *tls.Config // from ClientTLS
	// Where, when it is set, is asked for both before every try instead: a control plane may have moved meanwhile.
	Where func() (address string, config *tls.Config, err error)
	// Dial makes the connections: dial.Dialer.Dial of the plane. nil dials directly.
	Dial   dial.Func
	Source Source
	Sink   Sink
	// Health is asked for every heartbeat; Head is filled in by the link.
	Health func() *linkv1.Health
	Log    *slog.Logger
	// Status is told when the link comes up (nil) and each time it ends (why). It may be nil.
	Status func(error)

	// Between tries: full jitter below FirstWait, doubling up to MaxWait. 0 means 100 ms and 15 s.
	FirstWait, MaxWait time.Duration
}

// Run keeps the link up until ctx is done, and returns then. It never gives up: whatever goes wrong is logged, and tried
// again later. The engine does not notice any of it.
func Run(ctx context.Context, c Config) {
	if c.FirstWait == 0 {
		c.FirstWait = 100 * time.Millisecond
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.MaxWait == 0 {
		c.MaxWait = 15 * time.Second
	}
	failures := 0
	for {
		began := time.Now()
		s := &session{Config: c}
		err := s.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if s.welcomed && time.Since(began) >= c.MaxWait {
			failures = 0
		}
		if c.Status != nil {
			c.Status(err)
		}
		wait := pace.Backoff(failures, c.FirstWait, c.MaxWait)
		failures++
		c.Log.Warn("the link to the control plane is down; work goes on and is reported later", "address", s.Address, "error", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// errSilent ends a session in which the other side has stopped to speak or to listen.
var errSilent = errors.New("the other side is silent")

// session is one connection's worth of the link, seen from the data plane.
type session struct {
	Config
	stream   *connect.BidiStreamForClientSimple[linkv1.FromPlane, linkv1.FromControl]
	cancel   context.CancelCauseFunc
	welcomed bool
	beat     time.Duration
	silence  time.Duration

	wake    chan struct{} // the receiver has news for the sender
	mu      sync.Mutex
	applied int64 // the control plane's cursor, as it has told us

	sent      int64   // everything up to here has been sent; used by the sender only
	inFlight  []int64 // cursors of the batches that are not acknowledged; used by the sender only
	toldSink  int64   // the cursor of commands that the control plane knows of; used by the sender only
	announced int64   // nothing is left to send up to here; used by the sender only
}

func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.cancel, s.wake, s.silence = cancel, make(chan struct{}, 1), welcomeTimeout
	if s.Where != nil {
		var err error
		if s.Address, s.TLS, err = s.Where(); err != nil {
			return fmt.Errorf("where the control plane is: %w", err)
		}
	}
	wire := &wire{}
	context.AfterFunc(ctx, wire.close)
	transport := wire.transport(s.Dial, s.TLS)
	defer transport.CloseIdleConnections()
	client := linkv1connect.NewLinkServiceClient(&http.Client{Transport: transport}, "https://"+s.Address,
		connect.WithGRPC(), connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage))
	stream, err := client.Connect(ctx)
	if err != nil {
		return dial.Explain(err, s.Address)
	}
	s.stream = stream
	context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	why := func(err error) error {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return dial.Explain(err, s.Address)
	}
	if err := s.greet(); err != nil {
		return why(err)
	}
	if s.Status != nil {
		s.Status(nil)
	}
	s.Log.Info("the link to the control plane is up", "address", s.Address, "cursor", s.sent, "head", s.Source.Head())
	var sending sync.WaitGroup
	sending.Go(func() {
		if err := s.send(ctx); err != nil {
			cancel(err)
		}
	})
	err = s.receive(ctx)
	cancel(err)
	sending.Wait()
	return why(err)
}

func (s *session) greet() error {
	s.toldSink = s.Sink.Cursor()
	hello := &linkv1.Hello{Lives: s.Source.Lives(), CommandsApplied: s.toldSink, Health: s.health()}
	if err := s.write(&linkv1.FromPlane{Message: &linkv1.FromPlane_Hello{Hello: hello}}); err != nil {
		// What went wrong is told by the receiving half.
		if _, told := s.read(); told != nil {
			return told
		}
		return err
	}
	answer, err := s.read()
	if err != nil {
		return err
	}
	welcome := answer.GetWelcome()
	if welcome == nil {
		return errors.New("the control plane did not answer the hello with a welcome")
	}
	s.welcomed = true
	s.sent, s.applied = welcome.GetCursor(), welcome.GetCursor()
	s.beat = min(max(time.Duration(welcome.GetHeartbeatMs())*time.Millisecond, minHeartbeat), maxHeartbeat)
	s.silence = silentBeats * s.beat
	return nil
}

func (s *session) health() *linkv1.Health {
	health := &linkv1.Health{}
	if s.Health != nil {
		health = s.Health()
	}
	health.Head = s.Source.Head()
	return health
}

// write sends one message, and ends the session when the other side does not take it.
func (s *session) write(message *linkv1.FromPlane) error {
	if cleared := Scrub(message); len(cleared) > 0 {
		s.Log.Error("fields that do not look like their class were not sent", "fields", cleared)
	}
	watch := time.AfterFunc(s.silence, func() { s.cancel(errSilent) })
	defer watch.Stop()
	return s.stream.Send(message)
}

// read waits for one message, and ends the session when there is none for too long.
func (s *session) read() (*linkv1.FromControl, error) {
	watch := time.AfterFunc(s.silence, func() { s.cancel(errSilent) })
	defer watch.Stop()
	message, err := s.stream.Receive()
	if err == nil {
		Scrub(message)
	}
	return message, err
}

func (s *session) receive(ctx context.Context) error {
	for {
		message, err := s.read()
		if err != nil {
			return err
		}
		switch m := message.GetMessage().(type) {
		case *linkv1.FromControl_EventsApplied:
			s.mu.Lock()
			s.applied = max(s.applied, m.EventsApplied.GetCursor())
			s.mu.Unlock()
		case *linkv1.FromControl_Commands:
			if err := s.obey(ctx, m.Commands.GetCommands()); err != nil {
				return fmt.Errorf("apply commands: %w", err)
			}
		default:
			continue
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// obey applies what is new among the commands.
func (s *session) obey(ctx context.Context, commands []*linkv1.Command) error {
	done := s.Sink.Cursor()
	var fresh []*linkv1.Command
	for _, command := range commands {
		if command.GetSeq() > done {
			fresh = append(fresh, command)
			done = command.GetSeq()
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return s.Sink.Apply(ctx, fresh)
}

func (s *session) send(ctx context.Context) error {
	heartbeat := time.NewTimer(pace.Jittered(s.beat))
	defer heartbeat.Stop()
	for {
		more, err := s.sendEvents(ctx)
		if err != nil {
			return err
		}
		if done := s.Sink.Cursor(); done != s.toldSink {
			if err := s.write(&linkv1.FromPlane{Message: &linkv1.FromPlane_CommandsApplied{CommandsApplied: &linkv1.CommandsApplied{Cursor: done}}}); err != nil {
				return err
			}
			s.toldSink = done
		}
		if more {
			continue
		}
		changed := s.Source.Changed()
		if !s.room() {
			changed = nil // an acknowledgement wakes us
		}
		select {
		case <-changed:
		case <-s.wake:
		case <-heartbeat.C:
			if err := s.beatOnce(); err != nil {
				return err
			}
			heartbeat.Reset(pace.Jittered(s.beat))
		case <-ctx.Done():
			return nil
		}
	}
}

// room says whether another batch may be on its way.
func (s *session) room() bool {
	s.mu.Lock()
	applied := s.applied
	s.mu.Unlock()
	for len(s.inFlight) > 0 && s.inFlight[0] <= applied {
		s.inFlight = s.inFlight[1:]
	}
	return len(s.inFlight) < windowBatches
}

// sendEvents sends at most one batch, and says whether it is worth trying again at once.
func (s *session) sendEvents(ctx context.Context) (more bool, err error) {
	if !s.room() {
		return false, nil
	}
	head := s.Source.Head() // before the query: all up to here is in its snapshot
	if head <= max(s.sent, s.announced) {
		return false, nil
	}
	events, err := s.Source.Changes(ctx, s.sent, batchEvents)
	if err != nil {
		return false, fmt.Errorf("read changes: %w", err)
	}
	through := s.sent
	if len(events) > 0 {
		through = events[len(events)-1].GetSeq()
	}
	if len(events) < batchEvents {
		through = max(through, head)
	}
	if len(events) == 0 {
		s.announced = through
		return false, nil
	}
	return len(events) == batchEvents, s.sendBatch(events, through)
}

func (s *session) sendBatch(events []*linkv1.Event, through int64) error {
	batch := &linkv1.Events{Events: events, Through: through}
	if err := s.write(&linkv1.FromPlane{Message: &linkv1.FromPlane_Events{Events: batch}}); err != nil {
		return err
	}
	s.sent = through
	s.inFlight = append(s.inFlight, through)
	return nil
}

// beatOnce says that the plane is alive, and moves the cursor over changes that concern nobody but the plane.
func (s *session) beatOnce() error {
	if err := s.write(&linkv1.FromPlane{Message: &linkv1.FromPlane_Health{Health: s.health()}}); err != nil {
		return err
	}
	if s.announced > s.sent && s.room() {
		return s.sendBatch(nil, s.announced)
	}
	return nil
}
