package frontdoor

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// Listener makes a listener whose connections have finished their TLS handshake with h2, http/1.1 or no protocol. Closing it
// closes the one below and ends handshakes under way. A door may have several.
func (d *Door) Listener(below net.Listener) net.Listener {
	l := &listener{Listener: below, door: d, accepted: make(chan accepted)}
	l.closing, l.close = context.WithCancel(context.Background())
	l.working.Go(l.run)
	return l
}

type listener struct {
	net.Listener
	door     *Door
	accepted chan accepted
	closing  context.Context // done when the listener is closed
	close    context.CancelFunc
	working  sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

// Accept waits for a connection that has come through its handshake. Errors are those of the listener below.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closing.Done():
		return nil, net.ErrClosed
	}
}

// Close stops the listener and returns when nothing of it is left.
func (l *listener) Close() error {
	l.close()
	err := l.Listener.Close()
	l.working.Wait()
	return err
}

func (l *listener) run() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			// The server behind decides what to do, and how long to wait before the next try.
			if !l.hand(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		v := &visitor{Conn: conn}
		element, crowdedOut := l.door.going.begin(v)
		if crowdedOut != nil {
			l.door.metrics.crowded.Inc()
			crowdedOut.Close()
		}
		l.working.Go(func() {
			defer l.door.going.end(element)
			l.receive(v)
		})
	}
}

func (l *listener) receive(v *visitor) {
	defer context.AfterFunc(l.closing, func() { v.Close() })()
	conn := tls.Server(v, l.door.tls)
	if l.door.admit(conn, v) && !l.hand(accepted{conn: conn}) {
		conn.Close()
	}
}

// hand gives something to Accept, and says whether it was taken.
func (l *listener) hand(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closing.Done():
		return false
	}
}

// handshakes are those under way, the oldest first.
type handshakes struct {
	max int

	mu    sync.Mutex
	going list.List // of *visitor
}

// begin books a handshake. When there is no room, the oldest loses its place and is returned, to be closed.
func (h *handshakes) begin(v *visitor) (*list.Element, *visitor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	element := h.going.PushBack(v)
	if h.going.Len() <= h.max {
		return element, nil
	}
	return element, h.going.Remove(h.going.Front()).(*visitor)
}

func (h *handshakes) end(element *list.Element) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.going.Remove(element) // no longer in the list when it was crowded out
}

func (h *handshakes) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.going.Len()
}
