package circuit

import (
	"cmp"
	"net"
	"os"
	"sync"
	"time"
)

// tcpWindow is what a TCP connection may have on its way: the most that Linux lets a send buffer grow to by itself.
const tcpWindow = 4 << 20

// lingering is how long a closed connection may take to bring what is on its way to the other side.
const lingering = 5 * time.Second

// far makes a connection as slow to answer as one with the round-trip time: what is written arrives half of it later, and a window
// of bytes is on its way at most, each for a whole round trip. Nothing is lost, and there is no slow start. Both ends need it.
func far(conn net.Conn, rtt time.Duration) net.Conn {
	if rtt == 0 {
		return conn
	}
	f := &farConn{Conn: conn, rtt: rtt}
	f.changed = sync.NewCond(&f.mu)
	go f.deliver()
	return f
}

type farConn struct {
	net.Conn
	rtt     time.Duration
	mu      sync.Mutex
	changed *sync.Cond
	queue   []packet
	flying  int // bytes
	err     error
	limit   time.Time // of writes
	shut    bool      // nothing more is written
	closed  bool
}

type packet struct {
	bytes []byte
	due   time.Time
}

func (f *farConn) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), 64<<10)
		f.mu.Lock()
		for f.err == nil && !f.shut && f.flying+n > tcpWindow {
			if !f.limit.IsZero() && !time.Now().Before(f.limit) {
				f.mu.Unlock()
				return written, os.ErrDeadlineExceeded
			}
			f.changed.Wait()
		}
		if f.err != nil || f.shut {
			err := cmp.Or(f.err, net.ErrClosed)
			f.mu.Unlock()
			return written, err
		}
		f.flying += n
		f.queue = append(f.queue, packet{append([]byte(nil), p[:n]...), time.Now().Add(f.rtt / 2)})
		f.changed.Broadcast()
		f.mu.Unlock()
		written, p = written+n, p[n:]
	}
	return written, nil
}

func (f *farConn) deliver() {
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && f.err == nil && !f.shut {
			f.changed.Wait()
		}
		if len(f.queue) == 0 || f.err != nil {
			err, closed := f.err, f.closed
			if !closed && err == nil { // only this direction has ended
				if half, ok := f.Conn.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
				for !f.closed {
					f.changed.Wait()
				}
			}
			f.mu.Unlock()
			f.Conn.Close()
			return
		}
		next := f.queue[0]
		f.queue = f.queue[1:]
		f.mu.Unlock()
		time.Sleep(time.Until(next.due))
		_, err := f.Conn.Write(next.bytes)
		if err != nil {
			f.fail(err)
			f.Conn.Close()
			return
		}
		time.AfterFunc(f.rtt/2, func() {
			f.mu.Lock()
			f.flying -= len(next.bytes)
			f.changed.Broadcast()
			f.mu.Unlock()
		})
	}
}

func (f *farConn) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.changed.Broadcast()
}

// CloseWrite ends this direction after what is on its way.
func (f *farConn) CloseWrite() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
	f.changed.Broadcast()
	return nil
}

// Close ends the connection when what is on its way has arrived.
func (f *farConn) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut, f.closed = true, true
	f.changed.Broadcast()
	return f.Conn.SetDeadline(time.Now().Add(f.rtt + lingering))
}

func (f *farConn) SetWriteDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = t
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changed.Broadcast()
		})
	}
	return nil
}

func (f *farConn) SetDeadline(t time.Time) error {
	_ = f.SetWriteDeadline(t)
	return f.Conn.SetReadDeadline(t)
}
