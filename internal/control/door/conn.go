package door

import (
	"net"
	"sync"
)

// Conn is a client's connection. Read gives the bytes again that the door has read, and then what follows.
type Conn struct {
	net.Conn
	replay []byte
	leave  func() // gives the connection's place back
}

func newConn(below net.Conn, leave func()) *Conn {
	return &Conn{Conn: below, leave: sync.OnceFunc(leave)}
}

// Read implements net.Conn. Only one goroutine may read, as for TLS.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(p, c.replay)
		if c.replay = c.replay[n:]; len(c.replay) == 0 {
			c.replay = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite says that nothing more will come from here.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Reset closes the connection so that the client notices at once that it was cut off, rather than ended.
func (c *Conn) Reset() error {
	if linger, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		_ = linger.SetLinger(0) // Close tells the client something in any case
	}
	return c.Close()
}
