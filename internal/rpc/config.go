package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says how a server behaves. The zero value serves, with the default limits.
type Config struct {
	// Name tells this server's metrics from another's in the same registry. Default "main".
	Name string
	// Log gets what a client must not see. Default slog.Default().
	Log *slog.Logger
	// Metrics receives the server's metrics and is what /metrics shows. Default: a registry of its own.
	Metrics *prometheus.Registry
	// Ready answers /readyz and gRPC health; its error is shown. Default: ready while serving.
	Ready func(context.Context) error
	// TLS turns TLS on; it must hold a certificate or a way to get one.
	TLS *tls.Config
	// Limits bounds the server. A field that is zero has its default.
	Limits Limits
	// MessageBytes replaces Limits.MessageBytes for the procedures named, such as "/pkg.Service/Method".
	MessageBytes map[string]int64
}

// Limits are the bounds of a server. Zero means the default, given in brackets.
type Limits struct {
	// MessageBytes is the largest request message, inflated [16 MiB]. A body on the wire may be as large, and a little
	// more for compression that does not help.
	MessageBytes int64
	// BodyBytes is the memory that the bodies of all requests in flight may take together [1 GiB].
	BodyBytes int64
	// Unary is the number of unary requests in flight [4,096].
	Unary int
	// Streams is the number of streams open [16,384].
	Streams int
	// Connections is the number of connections [8,192]. One more takes the place of the one longest without a request,
	// and is closed when there is none.
	Connections int
	// IdleConnections is the number of connections without a request [2,048]; beyond it the oldest is closed.
	IdleConnections int
	// HeaderBytes is the size of a request's header [64 KiB].
	HeaderBytes int
	// HeaderTime is how long a header may take from its first byte to its last [10 s].
	HeaderTime time.Duration
	// IdleTime is how long a connection may wait for its next request [3 min, longer than the SDK's 90 s, so that the
	// client is the one to close].
	IdleTime time.Duration
	// BodyTime is how long the body of a request, and of a unary response, may take [5 min].
	BodyTime time.Duration
	// SendTime is how long one message of a stream may wait for a client that does not read [1 min].
	SendTime time.Duration
	// Grace is how long unary requests may go on when the server stops [5 s].
	Grace time.Duration
}

// smallMessage is the size in bytes below which a response is sent as it is: compressing it costs more than it saves.
const smallMessage = 1 << 10

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "main"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	l := &c.Limits
	orDefault(&l.MessageBytes, 16<<20)
	orDefault(&l.BodyBytes, 1<<30)
	orDefault(&l.Unary, 4096)
	orDefault(&l.Streams, 16384)
	orDefault(&l.Connections, 8192)
	orDefault(&l.IdleConnections, 2048)
	orDefault(&l.HeaderBytes, 64<<10)
	orDefault(&l.HeaderTime, 10*time.Second)
	orDefault(&l.IdleTime, 3*time.Minute)
	orDefault(&l.BodyTime, 5*time.Minute)
	orDefault(&l.SendTime, time.Minute)
	orDefault(&l.Grace, 5*time.Second)
	return c
}

func orDefault[T int | int64 | time.Duration](value *T, fallback T) {
	if *value <= 0 {
		*value = fallback
	}
}

// messageBytes is the limit of a procedure.
func (c *Config) messageBytes(procedure string) int64 {
	if limit, ok := c.MessageBytes[procedure]; ok {
		return limit
	}
	return c.Limits.MessageBytes
}
