package tunnel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"google.golang.org/protobuf/proto"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
)

const (
	maxOpening = 1 << 10 // bytes of an Opening
	maxText    = 256     // bytes of a text in it
)

// taken is the byte that a plane sends first when it has taken a flow up.
const taken = 1

// Why a stream is reset, as the code that goes with it.
const (
	codeReset uint32 = iota
	codeBusy
	codeDraining
	codeMalformed
	codeUnanswered
)

func (s *session) Open(ctx context.Context, meta *tunnelv1.Meta) (net.Conn, error) {
	if !s.relay {
		return nil, errors.New("tunnel: only the relay's side opens streams")
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("tunnel: open: %w", ctx.Err())
	}
	if meta.GetDeadlineMs() == 0 {
		// The plane shall not keep what is given up here.
		if meta == nil {
			meta = &tunnelv1.Meta{}
		}
		meta = proto.CloneOf(meta)
		meta.DeadlineMs = s.OpenTimeout.Milliseconds()
	}
	head, err := frame(&tunnelv1.Opening{Kind: &tunnelv1.Opening_Meta{Meta: meta}})
	if err != nil {
		return nil, err
	}
	select {
	case <-s.peerDrain:
		return nil, s.notOpened(ErrDraining)
	default:
	}
	select {
	case s.pending <- struct{}{}:
	case <-s.done:
		return nil, s.notOpened(s.err)
	case <-ctx.Done():
		return nil, s.notOpened(fmt.Errorf("%w: %w", ErrBusy, ctx.Err()))
	}
	c := &stream{session: s, local: s.conn.LocalAddr(), remote: s.conn.RemoteAddr(), halfClose: s.HalfClose}
	if err := s.admit(c); err != nil {
		<-s.pending
		return nil, s.notOpened(err)
	}
	c.pending.Store(true)
	s.Metrics.pending.Inc()
	// Starting the stream waits while the connection takes nothing, whatever ctx says, until the session ends by its own limit. A
	// caller who has gone meanwhile leaves nothing behind.
	started := make(chan error)
	go func() {
		err := c.start(head)
		select {
		case started <- err:
		case <-ctx.Done():
			c.reset(codeReset, ctx.Err())
		}
	}()
	select {
	case err = <-started:
	case <-ctx.Done():
		return nil, fmt.Errorf("tunnel: open: %w", ctx.Err())
	}
	if err != nil {
		c.reset(codeReset, err)
		return nil, fmt.Errorf("tunnel: open: %w", err)
	}
	return c, nil
}

func (s *session) notOpened(err error) error {
	s.Metrics.ended.WithLabelValues(outcome(err)).Inc()
	return err
}

// start begins the stream below and writes its opening.
func (c *stream) start(head []byte) error {
	below, err := c.session.mux.OpenStream(context.Background())
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.below = below
	c.answer = time.AfterFunc(c.session.OpenTimeout, c.overdue)
	c.mu.Unlock()
	_, err = below.Write(head)
	return err
}

// tell sends an opening that is not a flow, and sees it through.
func (s *session) tell(opening *tunnelv1.Opening) {
	head, err := frame(opening)
	if err != nil {
		s.Log.Error("a control message of the tunnel was not sent", "error", err)
		return
	}
	below, err := s.mux.OpenStream(context.Background())
	if err != nil {
		return // the session is over, and says why
	}
	defer below.Reset()
	if _, err := below.Write(head); err != nil || below.CloseWrite() != nil {
		return
	}
	// The other side ends the stream when it has read the message.
	if below.SetReadDeadline(time.Now().Add(s.OpenTimeout)) == nil {
		var none [1]byte
		_, _ = below.Read(none[:])
	}
}

// greet reads how a stream of the other side starts, and puts a flow where Accept finds it.
func (s *session) greet(below *yamux.Stream) {
	came := time.Now()
	if err := below.SetReadDeadline(came.Add(s.OpenTimeout)); err != nil {
		return
	}
	opening, err := readOpening(below)
	if err != nil {
		s.refuse(below, codeMalformed)
		return
	}
	switch kind := opening.GetKind().(type) {
	case *tunnelv1.Opening_Hello:
		s.greeted.Do(func() {
			s.peer = kind.Hello.GetRelay()
			close(s.hello)
		})
		_ = below.Close()
	case *tunnelv1.Opening_Draining:
		s.drained.Do(func() { close(s.peerDrain) })
		_ = below.Close()
	case *tunnelv1.Opening_Meta:
		if s.relay {
			s.refuse(below, codeMalformed)
			return
		}
		s.arrived(below, kind.Meta, came)
	}
}

func (s *session) arrived(below *yamux.Stream, meta *tunnelv1.Meta, came time.Time) {
	patience := s.OpenTimeout
	if ms := meta.GetDeadlineMs(); ms > 0 && ms < patience.Milliseconds() {
		patience = time.Duration(ms) * time.Millisecond
	}
	patience -= time.Since(came)
	c := &stream{session: s, below: below, local: Address(meta.GetServerName()), remote: clientAddress(meta.GetClientAddress()), halfClose: s.HalfClose}
	switch err := s.admit(c); {
	case errors.Is(err, ErrDraining):
		s.refuse(below, codeDraining)
		return
	case err != nil:
		s.refuse(below, codeBusy)
		return
	}
	s.enqueue(&arrival{stream: c, meta: meta}, patience)
}

// arrival is a flow that has come in and waits for Accept.
type arrival struct {
	stream *stream
	meta   *tunnelv1.Meta
	limit  *time.Timer // when nobody needs to take it up any more
}

func (s *session) enqueue(a *arrival, patience time.Duration) {
	s.mu.Lock()
	room := len(s.queue) < s.Waiting
	if room {
		a.limit = time.AfterFunc(patience, func() { s.expire(a) })
		s.queue = append(s.queue, a)
		s.awake()
	}
	s.mu.Unlock()
	if !room {
		a.stream.reset(codeBusy, ErrBusy)
	}
}

// expire gives the place of a flow that nobody has taken up to another.
func (s *session) expire(a *arrival) {
	s.mu.Lock()
	i := slices.Index(s.queue, a)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		a.stream.reset(codeUnanswered, ErrUnanswered)
	}
}

// next takes the oldest flow out of the queue, if there is one.
func (s *session) next() *arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	a := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	a.limit.Stop()
	s.awake()
	return a
}

// awake wakes one who waits in Accept when there is something. The caller holds mu.
func (s *session) awake() {
	if len(s.queue) == 0 {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) refuse(below *yamux.Stream, code uint32) {
	_ = below.ResetWithError(code)
	s.Metrics.ended.WithLabelValues(outcome(codes[code])).Inc()
}

func (s *session) Accept(ctx context.Context) (net.Conn, *tunnelv1.Meta, error) {
	if s.relay {
		return nil, nil, errors.New("tunnel: only the plane's side accepts streams")
	}
	for {
		if a := s.next(); a != nil {
			if err := a.stream.take(); err != nil {
				continue // the other side has given it up
			}
			return a.stream, a.meta, nil
		}
		select {
		case <-s.wake:
		case <-s.done:
			return nil, nil, s.err
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// take tells the other side that its flow has been taken up.
func (c *stream) take() error {
	if err := c.below.SetReadDeadline(time.Time{}); err != nil {
		c.reset(codeReset, ErrReset)
		return err
	}
	_, err := c.Write([]byte{taken})
	return err
}

// frame is the opening as it is sent.
func frame(opening *tunnelv1.Opening) ([]byte, error) {
	if meta := opening.GetMeta(); meta != nil {
		for name, text := range map[string]string{"server_name": meta.GetServerName(), "client_address": meta.GetClientAddress()} {
			if len(text) > maxText {
				return nil, fmt.Errorf("tunnel: %s has %d bytes; at most %d", name, len(text), maxText)
			}
		}
	}
	body, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 2, 64), opening)
	if err != nil {
		return nil, fmt.Errorf("tunnel: opening: %w", err)
	}
	binary.BigEndian.PutUint16(body, uint16(len(body)-2))
	return body, nil
}

func readOpening(r io.Reader) (*tunnelv1.Opening, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxOpening {
		return nil, fmt.Errorf("tunnel: an opening of %d bytes; at most %d", n, maxOpening)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	opening := &tunnelv1.Opening{}
	if err := proto.Unmarshal(body, opening); err != nil {
		return nil, err
	}
	if opening.GetKind() == nil {
		return nil, errors.New("tunnel: an opening of an unknown kind")
	}
	return opening, nil
}
