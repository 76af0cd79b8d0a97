package link

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"biplane.dev/biplane/internal/link/dial"
)

// wire is the one TCP connection of a session. Ending a session closes it: a stream of net/http whose request body
// waits for more does not notice that its context is done, and a peer that has gone silent answers nothing.
type wire struct {
	mu    sync.Mutex
	conns []net.Conn // one, but for a dial that was given up and succeeded all the same
	cut   bool
}

// transport makes a transport that dials once, for one session.
func (w *wire) transport(dialing dial.Func, config *tls.Config) *http.Transport {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Protocols: protocols,
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := dial.Secure(ctx, dialing, address, config)
			if err != nil {
				return nil, err
			}
			return conn, w.hold(conn)
		},
	}
}

func (w *wire) hold(conn net.Conn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		conn.Close()
		return net.ErrClosed
	}
	w.conns = append(w.conns, conn)
	return nil
}

// close cuts the connection, whatever state it is in.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, conn := range w.conns {
		conn.Close()
	}
	w.conns = nil
}
