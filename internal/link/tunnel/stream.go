package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

// stream is one flow. It adds to the multiplexer's stream what net.Conn promises and what its users rely on: calls at the
// same time, deadlines that lose nothing, a close that the other side notices, and a reset whenever the two ends could
// otherwise disagree.
type stream struct {
	session       *session
	below         *yamux.Stream // set before anybody else has the stream
	local, remote net.Addr
	halfClose     time.Duration

	pending atomic.Bool // ours, and not taken up yet
	reading sync.Mutex  // one reader at a time: the multiplexer wakes only one
	writing sync.Mutex  // one writer at a time: two would overdraw the window

	mu           sync.Mutex
	readDeadline time.Time
	answer       *time.Timer // while pending
	half         *time.Timer // while closed in one direction
	eof          bool        // the other side has closed its direction, and everything was read
	shut         bool        // this side has closed its direction
	closed       bool        // Close was called
	over         bool
	why          error // of a reset by this side
}

func (c *stream) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if err := c.mayRead(); err != nil {
		return 0, err
	}
	if c.pending.Load() {
		if err := c.verdict(); err != nil {
			return 0, c.readFailed(err)
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := c.below.Read(p)
	switch {
	case err == nil:
		return n, nil
	case n > 0:
		// The bytes are good, but the credit for them could not be sent, and will not be again: the other side would wait
		// for it for ever.
		c.reset(codeReset, ErrReset)
		return n, nil
	default:
		return 0, c.readFailed(err)
	}
}

// mayRead keeps a read whose deadline has passed away from the multiplexer: it would take bytes and lose their credit.
func (c *stream) mayRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.why != nil:
		return c.why
	case !c.readDeadline.IsZero() && !time.Now().Before(c.readDeadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// verdict waits for the byte that says that the stream has been taken up. The caller holds reading.
func (c *stream) verdict() error {
	var first [1]byte
	if _, err := io.ReadFull(c.below, first[:]); err != nil {
		if err == io.EOF {
			err = ErrRefused
		}
		return err
	}
	c.settle()
	return nil
}

// settle frees the place among those that wait to be taken up.
func (c *stream) settle() {
	if c.pending.CompareAndSwap(true, false) {
		<-c.session.pending
		c.session.Metrics.pending.Dec()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.answer != nil {
			c.answer.Stop()
		}
	}
}

// overdue is called when the stream should have been taken up by now. Whoever does not read does not know whether it was.
func (c *stream) overdue() {
	if !c.pending.Load() {
		return
	}
	if c.reading.TryLock() {
		defer c.reading.Unlock()
		if c.answered() {
			return
		}
	}
	c.reset(codeUnanswered, ErrUnanswered)
}

// answered reads the verdict when it is there, and does not wait for it.
func (c *stream) answered() bool {
	c.mu.Lock()
	if err := c.below.SetReadDeadline(time.Unix(1, 0)); err != nil {
		c.mu.Unlock()
		return false
	}
	var first [1]byte
	n, _ := c.below.Read(first[:])
	_ = c.below.SetReadDeadline(c.readDeadline)
	c.mu.Unlock()
	if n == 1 {
		c.settle()
	}
	return n == 1
}

func (c *stream) readFailed(err error) error {
	// Not errors.Is: when the connection below has ended, the multiplexer's error wraps its io.EOF, and the stream is cut off, not ended.
	if err == io.EOF {
		c.mu.Lock()
		c.eof = true
		whole := c.shut
		c.halfClosed()
		c.mu.Unlock()
		if whole {
			c.finish()
		}
		return io.EOF
	}
	return c.failed(err)
}

// failed makes an error of the multiplexer one of ours, and resets a stream that has none but errors left.
func (c *stream) failed(err error) error {
	c.mu.Lock()
	closed, why := c.closed, c.why
	c.mu.Unlock()
	var reset *yamux.StreamError
	switch {
	case closed:
		return net.ErrClosed
	case why != nil:
		return why
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.As(err, &reset) && reset.Remote:
		err = codes[reset.ErrorCode]
		if err == nil {
			err = ErrReset
		}
	case !errors.Is(err, ErrRefused):
		err = fmt.Errorf("%w: %v", ErrReset, err) // what it wraps must not look like another end
	}
	c.reset(codeReset, err)
	return err
}

var codes = map[uint32]error{codeBusy: ErrBusy, codeDraining: ErrDraining, codeMalformed: ErrRefused, codeUnanswered: ErrUnanswered}

func (c *stream) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	shut, why := c.shut, c.why
	c.mu.Unlock()
	switch {
	case shut:
		return 0, net.ErrClosed
	case why != nil:
		return 0, why
	}
	n, err := c.below.Write(p)
	if err != nil {
		err = c.failed(err)
		// The other side cannot know how much is missing, and would wait for it for ever.
		c.reset(codeReset, ErrReset)
	}
	return n, err
}

// CloseWrite tells the other side that nothing more will come. It may go on sending for the session's HalfClose.
func (c *stream) CloseWrite() error {
	c.mu.Lock()
	if c.shut || c.why != nil {
		err := c.why
		if c.closed {
			err = net.ErrClosed
		}
		c.mu.Unlock()
		return err
	}
	c.shut = true
	whole := c.eof
	c.halfClosed()
	c.mu.Unlock()
	err := c.below.CloseWrite()
	if whole || err != nil {
		c.finish()
	}
	if err != nil {
		return fmt.Errorf("%w: %v", ErrReset, err)
	}
	return nil
}

// halfClosed starts the clock when one direction is closed, and stops it when both are. The caller holds mu.
func (c *stream) halfClosed() {
	switch {
	case c.over:
	case c.half == nil && c.eof != c.shut:
		c.half = time.AfterFunc(c.halfClose, func() { c.reset(codeReset, ErrReset) })
	case c.half != nil && c.eof && c.shut:
		c.half.Stop()
	}
}

// Close ends the stream: the other side reads what was written, and then the end. If it sends more, or does not close its
// direction within HalfClose, the stream is reset. Reads and writes under way end with net.ErrClosed.
func (c *stream) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	over, eof := c.over, c.eof
	if !over {
		past := time.Unix(1, 0)
		_ = c.below.SetReadDeadline(past)
		_ = c.below.SetWriteDeadline(past)
	}
	c.mu.Unlock()
	if over {
		return nil
	}
	err := c.CloseWrite()
	if errors.Is(err, net.ErrClosed) {
		err = nil // CloseWrite was before
	}
	if !eof {
		go c.linger()
	}
	return err
}

// linger waits until the other side has closed its direction too. The multiplexer throws bytes for a stream that is closed
// away without a word, so a sender would wait for credit for ever.
func (c *stream) linger() {
	c.reading.Lock()
	defer c.reading.Unlock()
	_ = c.below.SetReadDeadline(time.Now().Add(c.halfClose))
	if c.pending.Load() && c.verdict() != nil {
		c.reset(codeReset, net.ErrClosed)
		return
	}
	var more [1]byte
	if _, err := c.below.Read(more[:]); err == io.EOF {
		c.finish()
		return
	}
	c.reset(codeReset, net.ErrClosed)
}

// Reset ends the stream at both ends, at once: the other side does not take it for an end. For users that have to cut off
// what they cannot finish.
func (c *stream) Reset() error {
	c.reset(codeReset, net.ErrClosed)
	return nil
}

// reset ends the stream at both ends, at once. why is what its users are told at this end.
func (c *stream) reset(code uint32, why error) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.why = why
	below := c.below
	c.mu.Unlock()
	if below != nil {
		_ = below.ResetWithError(code)
	}
	c.finish()
}

// finish gives back what the stream held in the session.
func (c *stream) finish() {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	for _, timer := range []*time.Timer{c.half, c.answer} {
		if timer != nil {
			timer.Stop()
		}
	}
	why := c.why
	c.mu.Unlock()
	c.settle()
	c.session.leave(c)
	c.session.Metrics.ended.WithLabelValues(outcome(why)).Inc()
}

func (c *stream) LocalAddr() net.Addr  { return c.local }
func (c *stream) RemoteAddr() net.Addr { return c.remote }

func (c *stream) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *stream) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.readDeadline = t
	return c.below.SetReadDeadline(t)
}

func (c *stream) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.below.SetWriteDeadline(t)
}
