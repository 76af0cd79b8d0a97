package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A connection that is quiet holds two small buffers. One that fills its buffer gets a large one, and gives it back when it
	// does not fill that any more.
	smallBuffer = 2 << 10
	largeBuffer = 64 << 10
)

var large = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// Why a connection was ended before its sides did it.
var (
	errIdle       = errors.New("relay: silent for too long")
	errHalfClosed = errors.New("relay: closed in one direction for too long")
	errCut        = errors.New("relay: cut off")
)

// splice copies between a client and a plane. It has no use for splice(2): one side is always a stream within TLS.
type splice struct {
	client, stream net.Conn
	limits         Limits
	throttle       *throttle
	metrics        *metrics

	began  time.Time
	moved  atomic.Int64 // when the last byte was copied, since began
	idle   *time.Timer
	ended  atomic.Bool
	aborts sync.Once
	why    error         // of the abort; valid when over is closed
	over   chan struct{} // closed by the abort

	mu   sync.Mutex
	half *time.Timer // while one direction has ended
}

// run copies until both sides have closed, or resets both. up bytes have been sent to the plane already, and answer is the beginning
// of what comes from it. The result is nil when both sides closed.
func (s *splice) run(ctx context.Context, up int, answer []byte) error {
	s.began, s.over = time.Now(), make(chan struct{})
	unhook := context.AfterFunc(ctx, func() { s.abort(errCut) })
	defer unhook()
	s.idle = time.AfterFunc(math.MaxInt64, s.look)
	s.idle.Reset(s.limits.IdleTime)
	s.metrics.bytes.WithLabelValues("up").Add(float64(up))
	upward := make(chan struct{})
	go func() {
		defer close(upward)
		s.copy(s.stream, s.client, nil, "up")
	}()
	s.copy(s.client, s.stream, answer, "down")
	<-upward
	s.aborts.Do(func() {}) // from now on it cannot be aborted, and why does not change
	s.ended.Store(true)
	s.idle.Stop()
	s.client.Close()
	s.stream.Close()
	return s.why
}

// look ends the connection when nothing has been copied for too long.
func (s *splice) look() {
	quiet := time.Since(s.began) - time.Duration(s.moved.Load())
	switch {
	case s.ended.Load():
	case quiet >= s.limits.IdleTime:
		s.abort(errIdle)
	default:
		s.idle.Reset(s.limits.IdleTime - quiet)
	}
}

// copy copies one direction to its end, and passes the end on. An error resets both sides.
func (s *splice) copy(to, from net.Conn, first []byte, direction string) {
	err := s.pump(to, from, first, direction)
	if err == nil {
		s.halfClosed()
		err = closeWrite(to)
	}
	if err != nil {
		s.abort(err)
	}
}

// halfClosed is called when a direction has ended: the other may not go on alone for long.
func (s *splice) halfClosed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.half != nil {
		s.half.Stop()
		return
	}
	s.half = time.AfterFunc(s.limits.HalfClose, func() { s.abort(errHalfClosed) })
}

func (s *splice) pump(to, from net.Conn, first []byte, direction string) error {
	counter := s.metrics.bytes.WithLabelValues(direction)
	pass := func(p []byte) error {
		s.moved.Store(int64(time.Since(s.began)))
		if !s.throttle.wait(len(p), s.over) {
			return errCut
		}
		n, err := to.Write(p)
		counter.Add(float64(n))
		s.moved.Store(int64(time.Since(s.began)))
		return err
	}
	if len(first) > 0 {
		if err := pass(first); err != nil {
			return err
		}
	}
	small := make([]byte, smallBuffer)
	buffer := small
	var borrowed *[largeBuffer]byte
	giveBack := func() {
		if borrowed != nil {
			large.Put(borrowed)
			borrowed, buffer = nil, small
		}
	}
	defer giveBack()
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := pass(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case borrowed == nil && n == smallBuffer:
			borrowed = large.Get().(*[largeBuffer]byte)
			buffer = borrowed[:]
		case n <= smallBuffer:
			giveBack()
		}
	}
}

// abort resets both sides, so that neither takes being cut off for an end.
func (s *splice) abort(why error) {
	s.aborts.Do(func() {
		s.why = why
		close(s.over)
		reset(s.client)
		reset(s.stream)
	})
}

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return conn.Close()
}

// reset closes a connection without the words that would make it look ended.
func reset(conn net.Conn) {
	switch c := conn.(type) {
	case interface{ Reset() error }:
		_ = c.Reset()
	case *tls.Conn:
		reset(c.NetConn())
	case *net.TCPConn:
		_ = c.SetLinger(0)
		c.Close()
	default:
		c.Close()
	}
}

// endOf is the label of how a connection ended.
func endOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errIdle):
		return "idle"
	case errors.Is(err, errHalfClosed):
		return "half_closed"
	case errors.Is(err, errCut):
		return "cut"
	default:
		return "reset"
	}
}
