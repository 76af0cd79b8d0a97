package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Address is the name by which a flow was addressed: the local address of its connection at the plane.
type Address string

// Network is "tunnel".
func (a Address) Network() string { return "tunnel" }

func (a Address) String() string { return string(a) }

// clientAddress is the address in Meta, as an IP address when it is one: what looks at a RemoteAddr expects that.
func clientAddress(text string) net.Addr {
	if address, err := netip.ParseAddrPort(text); err == nil {
		return net.TCPAddrFromAddrPort(address)
	}
	return Address(text)
}

// Listener gathers the flows of all sessions that Serve is called with. It is a net.Listener for whatever ends the TLS of
// the front door.
type Listener struct {
	address Address
	metrics *Metrics
	waiting chan net.Conn
	closed  context.Context
	close   context.CancelFunc
	work    sync.WaitGroup
	mu      sync.Mutex
}

// NewListener makes a listener. address is what Addr returns, such as the plane's front door; backlog is how many flows
// may wait for Accept, beyond those that wait in the sessions. metrics may be nil.
func NewListener(address string, backlog int, metrics *Metrics) *Listener {
	if metrics == nil {
		metrics = unregistered()
	}
	l := &Listener{address: Address(address), metrics: metrics, waiting: make(chan net.Conn, backlog)}
	l.closed, l.close = context.WithCancel(context.Background())
	return l
}

// Serve passes on the flows of a session until the session ends or the listener is closed. While the backlog is full it
// takes none from the session, which refuses what it has no room for itself. It returns why it ended, net.ErrClosed for the listener.
func (l *Listener) Serve(s Session) error {
	l.mu.Lock()
	if l.closed.Err() != nil {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.work.Add(1)
	l.mu.Unlock()
	defer l.work.Done()
	for {
		conn, _, err := s.Accept(l.closed)
		if err != nil {
			if errors.Is(err, context.Canceled) {
				return net.ErrClosed
			}
			return err
		}
		select {
		case l.waiting <- conn:
			l.metrics.backlog.Inc()
		case <-l.closed.Done():
			conn.Close()
			return net.ErrClosed
		}
	}
}

// Accept waits for the next flow of any session.
func (l *Listener) Accept() (net.Conn, error) {
	if l.closed.Err() != nil {
		return nil, net.ErrClosed
	}
	select {
	case conn := <-l.waiting:
		l.metrics.backlog.Dec()
		return conn, nil
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Serve, and closes the flows that nobody has accepted. The sessions stay up.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.close()
	l.mu.Unlock()
	l.work.Wait()
	for {
		select {
		case conn := <-l.waiting:
			l.metrics.backlog.Dec()
			conn.Close()
		default:
			return nil
		}
	}
}

// Addr is the address given to NewListener.
func (l *Listener) Addr() net.Addr { return l.address }
