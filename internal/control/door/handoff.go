package door

import (
	"context"
	"net"
	"sync"
)

// handoff is the listener from which the HTTP server accepts what the door leads to it.
type handoff struct {
	address net.Addr
	waiting chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func newHandoff() *handoff {
	return &handoff{address: &net.TCPAddr{}, waiting: make(chan net.Conn), closed: make(chan struct{})}
}

// give waits until the server takes the connection.
func (h *handoff) give(ctx context.Context, conn net.Conn) error {
	select {
	case h.waiting <- conn:
		return nil
	case <-h.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.waiting:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.address }
