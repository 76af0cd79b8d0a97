package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of the control plane's listener for planes. A plane needs one connection with one stream.
const (
	maxConnections = 8192
	maxStreams     = 8
	headerTime     = 10 * time.Second // also bounds the TLS handshake
	shutdownTime   = 5 * time.Second
)

// Serve answers planes on the listener until ctx is done, then ends the sessions and returns nil. It closes the listener.
// config comes from ServerTLS.
func (s *Server) Serve(ctx context.Context, listener net.Listener, config *tls.Config) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         config,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.Close()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if err := server.Shutdown(patience); err != nil {
			server.Close()
		}
	})
	err := server.ServeTLS(&boundedListener{Listener: listener, free: make(chan struct{}, maxConnections), closed: make(chan struct{})}, "", "")
	if unhook() { // the listener broke
		s.Close()
		return errors.Join(fmt.Errorf("serve planes on %s: %w", listener.Addr(), err), server.Close())
	}
	<-stopped
	return nil
}

// boundedListener accepts only so many connections at a time. One that says nothing is closed after headerTime, so the
// place becomes free.
type boundedListener struct {
	net.Listener
	free   chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.free })}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
