package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/pace"
)

// Session is one multiplexed connection between a plane and a relay. All methods may be called at the same time.
type Session interface {
	// Open starts a flow; the relay calls it. It does not wait for the plane: the caller may write at once, and reads an error
	// (ErrBusy, ErrDraining, ErrUnanswered) when the plane did not take the flow up. Open itself returns ErrBusy when the session
	// has as many streams as it may, and ErrDraining when it takes no new ones.
	//
	// The connection has CloseWrite. When a write fails, by a deadline too, or one direction stays closed alone for
	// Options.HalfClose, it is reset at both ends.
	Open(ctx context.Context, meta *tunnelv1.Meta) (net.Conn, error)
	// Accept waits for the next flow; the plane calls it. The addresses of the connection are what Meta says.
	Accept(ctx context.Context) (net.Conn, *tunnelv1.Meta, error)
	// Ping returns the time of a round trip. A plane that answers is there; what it does with flows is not asked.
	Ping(ctx context.Context) (time.Duration, error)
	// Drain tells the other side that there will be no new flows, waits for the open ones until ctx is done, resets those that are
	// left, and ends the session. The error is that of ctx when some were left.
	Drain(ctx context.Context) error
	// Close ends the session and resets its streams.
	Close() error
	// Done is closed when the session has ended, for whatever reason.
	Done() <-chan struct{}
	// Err says why the session has ended: net.ErrClosed after Close or Drain, nil while it is up.
	Err() error
}

// The errors of sessions and their connections, beside net.ErrClosed, io.EOF and os.ErrDeadlineExceeded.
var (
	// ErrReset: the other side gave the stream up, or this side did because a write failed or half of it was closed too long.
	ErrReset = errors.New("tunnel: stream reset")
	// ErrBusy: as many streams are open, or wait to be taken up, as may.
	ErrBusy = errors.New("tunnel: too many streams")
	// ErrDraining: the session takes no new streams; another session may.
	ErrDraining = errors.New("tunnel: the session takes no new streams")
	// ErrUnanswered: the other side did not take the stream up in time.
	ErrUnanswered = errors.New("tunnel: nobody took the stream up in time")
	// ErrRefused: the other side could not read how the stream starts.
	ErrRefused = errors.New("tunnel: stream refused")
)

// Options of a session. The zero value is good; both sides may have different ones.
type Options struct {
	// Relay tells replicas of the relay apart; the relay's side sends it to the plane's. At most 256 bytes.
	Relay string
	// Streams is how many flows may be open at a time. 0 means 2,048.
	Streams int
	// Waiting is how many flows may wait to be taken up, at each side. 0 means 256.
	Waiting int
	// Memory is how many bytes the receive windows of all streams together may grow beyond the 256 KiB that each has from the
	// start. What a session may hold for readers that do not read is Streams * 256 KiB + Memory. 0 means 64 MiB.
	Memory int64
	// KeepAlive is how long a session may be silent before the other side is asked whether it is there; each session differs from it by up
	// to a fifth. 0 means 40 s, which is below the 60 s after which many middleboxes forget a connection.
	KeepAlive time.Duration
	// WriteTimeout is how long the connection below may not take a byte, or a ping may take, before the session ends. 0 means 15 s.
	WriteTimeout time.Duration
	// OpenTimeout is how long a flow may wait to be taken up. 0 means 10 s.
	OpenTimeout time.Duration
	// HalfClose is how long a stream may be closed in one direction only. 0 means 1 min.
	HalfClose time.Duration
	Log       *slog.Logger // nil: nothing is logged
	Metrics   *Metrics     // nil: nothing is counted
}

const (
	maxWindow    = 16 << 20
	firstWindow  = 256 << 10 // what the protocol grants every stream
	maxMessage   = 64 << 10  // bytes of a frame; what another stream may have to wait for
	readBuffer   = 32 << 10  // bytes read from the connection at once
	controlCount = 4         // streams beside flows: hello and draining, each way, with room
	rttEvery     = 5 * time.Minute
)

func (o Options) complete() (Options, error) {
	if len(o.Relay) > maxText {
		return o, fmt.Errorf("tunnel: the name of a relay has %d bytes; at most %d", len(o.Relay), maxText)
	}
	if o.Streams == 0 {
		o.Streams = 2048
	}
	if o.Waiting == 0 {
		o.Waiting = 256
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.KeepAlive, 40 * time.Second}, {&o.WriteTimeout, 15 * time.Second}, {&o.OpenTimeout, 10 * time.Second}, {&o.HalfClose, time.Minute}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = unregistered()
	}
	return o, nil
}

// Client makes a session of a connection that this plane has dialled, and owns it. It returns at once; Ping says whether the
// other side is there. The only error is options that make no sense; the connection is closed then.
func Client(conn net.Conn, o Options) (Session, error) { return start(conn, o, false) }

// Server makes a session of a connection that a plane has dialled to this relay, and owns it. As Client otherwise.
func Server(conn net.Conn, o Options) (Session, error) { return start(conn, o, true) }

type session struct {
	Options
	relay bool // this is the relay's side
	mux   *yamux.Session
	conn  net.Conn

	pending chan struct{} // a place for each flow of ours that was not taken up yet
	wake    chan struct{} // the queue is not empty
	done    chan struct{}
	err     error // valid when done is closed

	hello     chan struct{} // closed when the other side has said who it is
	peer      string        // who it is; valid when hello is closed
	greeted   sync.Once
	peerDrain chan struct{} // closed when the other side drains
	drained   sync.Once

	mu       sync.Mutex
	open     map[*stream]struct{}
	queue    []*arrival // flows that wait for Accept
	draining bool
	empty    chan struct{} // closed when draining and no stream is open
	closed   bool
}

func start(conn net.Conn, o Options, relay bool) (*session, error) {
	o, err := o.complete()
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &session{
		Options: o, relay: relay, conn: conn,
		pending: make(chan struct{}, o.Waiting), wake: make(chan struct{}, 1), done: make(chan struct{}),
		hello: make(chan struct{}), peerDrain: make(chan struct{}), empty: make(chan struct{}), open: map[*stream]struct{}{},
	}
	incoming := uint32(controlCount)
	if !relay {
		// More than are taken, so that the plane can say why it refuses one.
		incoming += uint32(o.Streams + o.Waiting)
	}
	config := &yamux.Config{
		AcceptBacklog:           o.Waiting + controlCount,
		PingBacklog:             32,
		EnableKeepAlive:         true,
		KeepAliveInterval:       pace.Jittered(o.KeepAlive),
		MeasureRTTInterval:      pace.Jittered(rttEvery),
		ConnectionWriteTimeout:  o.WriteTimeout,
		MaxIncomingStreams:      incoming,
		InitialStreamWindowSize: firstWindow,
		MaxStreamWindowSize:     maxWindow,
		LogOutput:               muxLog{o.Log},
		ReadBufSize:             readBuffer,
		MaxMessageSize:          maxMessage,
	}
	budget := &budget{limit: o.Memory, gauge: o.Metrics.windows}
	if relay {
		s.mux, err = yamux.Server(conn, config, budget.span)
	} else {
		s.mux, err = yamux.Client(conn, config, budget.span)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	o.Metrics.sessions.Inc()
	go s.receive()
	if relay {
		go s.tell(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Hello{Hello: &tunnelv1.Hello{Relay: o.Relay}}})
	}
	return s, nil
}

// muxLog passes on what the multiplexer has to say: about frames and streams by number, never about their bytes.
type muxLog struct{ log *slog.Logger }

func (l muxLog) Write(line []byte) (int, error) {
	l.log.Debug("tunnel multiplexer", "says", string(line))
	return len(line), nil
}

// receive takes every stream that the other side starts, until the session ends. It never waits for a stream's bytes.
func (s *session) receive() {
	for {
		incoming, err := s.mux.AcceptStream()
		if err != nil {
			s.ended(err)
			return
		}
		go s.greet(incoming)
	}
}

func (s *session) ended(err error) {
	s.mu.Lock()
	switch {
	case s.closed:
		err = net.ErrClosed
	case errors.Is(err, io.EOF):
		err = errors.New("tunnel: the other side closed the connection")
	default:
		err = fmt.Errorf("tunnel: the session ended: %w", err)
	}
	s.err = err
	open := make([]*stream, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	close(s.done)
	for _, c := range open {
		c.finish()
	}
	s.Metrics.sessions.Dec()
}

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.mux.Close()
	<-s.done
	return err
}

func (s *session) Ping(ctx context.Context) (time.Duration, error) {
	type answer struct {
		took time.Duration
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		took, err := s.mux.Ping()
		answered <- answer{took, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return 0, fmt.Errorf("tunnel: ping: %w", a.err)
		}
		return a.took, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("tunnel: ping: %w", ctx.Err())
	}
}

func (s *session) Drain(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	if first && len(s.open) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	if first {
		told := make(chan struct{})
		go func() {
			defer close(told)
			s.tell(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Draining{Draining: &tunnelv1.Draining{}}})
		}()
		// The news must not be cut off by the end of an idle session.
		select {
		case <-told:
		case <-s.done:
		case <-ctx.Done():
		}
	}
	var left error
	select {
	case <-s.empty:
	case <-s.done:
	case <-ctx.Done():
		left = ctx.Err()
	}
	if err := s.Close(); left == nil {
		return err
	}
	return left
}

// admit makes a stream of the session, or says why there can be none.
func (s *session) admit(c *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return ErrDraining
	case len(s.open) >= s.Streams:
		return ErrBusy
	}
	s.open[c] = struct{}{}
	s.Metrics.streams.Inc()
	return nil
}

// leave is the end of a stream that was admitted.
func (s *session) leave(c *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.Metrics.streams.Dec()
	if s.draining && len(s.open) == 0 {
		close(s.empty)
	}
}
