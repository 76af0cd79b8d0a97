package circuit

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"time"

	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
	"biplane.dev/biplane/internal/link/tunnel"
)

// Circuit is a front door that can be reached in one way.
type Circuit struct {
	// Session pairs of the tunnel, for what is measured below TLS; nil when there is none.
	Plane, Relay tunnel.Session

	address string
	client  *tls.Config
	rtt     time.Duration // between client and address
	closers []func()
	working sync.WaitGroup
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	closed  bool
	done    chan struct{}
}

// What the front door does with a connection is its first byte; Download and Upload are followed by a count of bytes in eight.
const (
	echo     = 'e'
	download = 'd'
	upload   = 'u'
	stall    = 's'
)

// Direct is TLS over one TCP connection for each flow, with the round-trip time.
func Direct(rtt time.Duration) (*Circuit, error) {
	c, server, err := begin()
	if err != nil {
		return nil, err
	}
	c.rtt = rtt
	listener, err := c.listen()
	if err != nil {
		return nil, err
	}
	c.address = listener.Addr().String()
	c.accept(listener, func(conn net.Conn) { c.serve(tls.Server(far(conn, rtt), server)) })
	return c, nil
}

// Relayed is the same through a relay. The round-trip time is all between relay and plane, which is the worst place for it.
// The relay's part is the least that there can be: a stream for each connection, and copies both ways.
func Relayed(rtt time.Duration) (*Circuit, error) {
	c, server, err := begin()
	if err != nil {
		return nil, err
	}
	if err := c.connect(server, rtt); err != nil {
		c.Close()
		return nil, err
	}
	front := tunnel.NewListener("front", 128, nil)
	c.closers = append(c.closers, func() { front.Close() })
	c.working.Go(func() { _ = front.Serve(c.Plane) })
	c.accept(front, func(conn net.Conn) { c.serve(tls.Server(conn, server)) })
	listener, err := c.listen()
	if err != nil {
		c.Close()
		return nil, err
	}
	c.address = listener.Addr().String()
	c.accept(listener, func(conn net.Conn) {
		defer conn.Close()
		stream, err := c.Relay.Open(context.Background(), &tunnelv1.Meta{ServerName: "front", ClientAddress: conn.RemoteAddr().String()})
		if err != nil {
			return
		}
		defer stream.Close()
		splice(conn, stream)
	})
	return c, nil
}

// Sessions is a tunnel without a front door.
func Sessions() (*Circuit, error) {
	c, server, err := begin()
	if err != nil {
		return nil, err
	}
	if err := c.connect(server, 0); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connect makes the session, over TLS as in production.
func (c *Circuit) connect(server *tls.Config, rtt time.Duration) error {
	listener, err := c.listen()
	if err != nil {
		return err
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- conn
	}()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	distant, ok := <-accepted
	if !ok {
		return errors.New("the relay does not accept")
	}
	options := tunnel.Options{Streams: 4096, Waiting: 1024, WriteTimeout: time.Minute}
	// Full records from the start, as Keep asks for; the relay's side should too.
	client, server := c.client.Clone(), server.Clone()
	client.DynamicRecordSizingDisabled, server.DynamicRecordSizingDisabled = true, true
	if c.Plane, err = tunnel.Client(tls.Client(far(near, rtt), client), options); err != nil {
		return err
	}
	c.closers = append(c.closers, func() { c.Plane.Close() })
	if c.Relay, err = tunnel.Server(tls.Server(far(distant, rtt), server), options); err != nil {
		return err
	}
	c.closers = append(c.closers, func() { c.Relay.Close() })
	_, err = c.Plane.Ping(context.Background())
	return err
}

func begin() (*Circuit, *tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"front"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c := &Circuit{client: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "front"}, conns: map[net.Conn]struct{}{}, done: make(chan struct{})}
	return c, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

func (c *Circuit) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		c.closers = append(c.closers, func() { listener.Close() })
	}
	return listener, err
}

// accept handles the connections of a listener until it is closed. handle closes its connection.
func (c *Circuit) accept(listener net.Listener, handle func(net.Conn)) {
	c.working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if !c.hold(conn) {
				continue
			}
			c.working.Go(func() {
				defer c.leave(conn)
				handle(conn)
			})
		}
	})
}

func (c *Circuit) hold(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return false
	}
	c.conns[conn] = struct{}{}
	return true
}

func (c *Circuit) leave(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// Close ends everything.
func (c *Circuit) Close() {
	c.mu.Lock()
	c.closed = true
	close(c.done)
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	for i := len(c.closers) - 1; i >= 0; i-- {
		c.closers[i]()
	}
	c.working.Wait()
}

func splice(client, stream net.Conn) {
	var halves sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, stream}, {stream, client}} {
		halves.Go(func() {
			buffer := make([]byte, 64<<10)
			_, err := io.CopyBuffer(struct{ io.Writer }{way[1]}, struct{ io.Reader }{way[0]}, buffer)
			if half, ok := way[1].(interface{ CloseWrite() error }); ok && err == nil {
				_ = half.CloseWrite()
				return
			}
			client.Close()
			stream.Close()
		})
	}
	halves.Wait()
}

func (c *Circuit) serve(conn *tls.Conn) {
	defer conn.Close()
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(head[1:]))
	switch head[0] {
	case echo:
		buffer := make([]byte, 64<<10)
		_, _ = io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{conn}, buffer)
	case download:
		chunk := make([]byte, 64<<10)
		for ; n > 0; n -= int64(len(chunk)) {
			if _, err := conn.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
				return
			}
		}
	case upload:
		buffer := make([]byte, 64<<10)
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(conn, n), buffer); err == nil {
			_, _ = conn.Write([]byte{1})
		}
	case stall:
		<-c.done // reads nothing, ever
	}
}

// Flow is a client's connection to the front door.
type Flow struct{ conn net.Conn }

func (c *Circuit) dial(what byte, n int64) (*Flow, error) {
	raw, err := net.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(far(raw, c.rtt), c.client)
	head := binary.BigEndian.AppendUint64([]byte{what}, uint64(n))
	if _, err := conn.Write(head); err != nil {
		conn.Close()
		return nil, err
	}
	return &Flow{conn}, nil
}

// Echo opens a flow that sends back what comes.
func (c *Circuit) Echo() (*Flow, error) { return c.dial(echo, 0) }

// Close ends the flow.
func (f *Flow) Close() { f.conn.Close() }

// Exchange sends a message and waits until it has come back.
func (f *Flow) Exchange(message []byte) error {
	if _, err := f.conn.Write(message); err != nil {
		return err
	}
	_, err := io.ReadFull(f.conn, message)
	return err
}

// Stall opens a flow whose front door never reads, and writes until nothing goes through any more for a while. Then a window is full,
// and whatever is between. Close ends it.
func (c *Circuit) Stall(quiet time.Duration) (*Flow, error) {
	f, err := c.dial(stall, 0)
	if err != nil {
		return nil, err
	}
	chunk := make([]byte, 64<<10)
	for {
		if err := f.conn.SetWriteDeadline(time.Now().Add(quiet)); err != nil {
			return f, err
		}
		if _, err := f.conn.Write(chunk); errors.Is(err, os.ErrDeadlineExceeded) {
			return f, nil
		} else if err != nil {
			return f, err
		}
	}
}

// Download takes n bytes.
func (c *Circuit) Download(n int64) error {
	f, err := c.dial(download, n)
	if err != nil {
		return err
	}
	defer f.Close()
	buffer := make([]byte, 64<<10)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(f.conn, n), buffer)
	return err
}

// Upload sends n bytes and waits until the front door has them.
func (c *Circuit) Upload(n int64) error {
	f, err := c.dial(upload, n)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 64<<10)
	for left := n; left > 0; left -= int64(len(chunk)) {
		if _, err := f.conn.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
			return err
		}
	}
	_, err = io.ReadFull(f.conn, chunk[:1])
	return err
}
