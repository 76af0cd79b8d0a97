package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count the sessions and streams of a program. Labels have few values.
type Metrics struct {
	sessions prometheus.Gauge
	streams  prometheus.Gauge
	pending  prometheus.Gauge
	windows  prometheus.Gauge
	ended    *prometheus.CounterVec
	dials    *prometheus.CounterVec
	backlog  prometheus.Gauge
}

// NewMetrics registers the metrics of all sessions of the program.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		sessions: gauge("biplane_tunnel_sessions", "Tunnel sessions up."),
		streams:  gauge("biplane_tunnel_streams_open", "Flows open in all sessions."),
		pending:  gauge("biplane_tunnel_streams_pending", "Flows that a plane has not taken up yet."),
		windows:  gauge("biplane_tunnel_window_bytes", "Memory that the receive windows of all streams may come to."),
		backlog:  gauge("biplane_tunnel_listener_waiting", "Flows that wait for the front door to accept them."),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_tunnel_streams_total", Help: "Flows that ended or were never opened, by outcome: ok, reset, busy, draining, refused, unanswered, cancelled, error.",
		}, []string{"outcome"}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_tunnel_dials_total", Help: "Tries to bring a session up, by transport and outcome: up, duplicate, failed, hung.",
		}, []string{"transport", "outcome"}),
	}
	for _, collector := range []prometheus.Collector{m.sessions, m.streams, m.pending, m.windows, m.ended, m.dials, m.backlog} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("tunnel: metrics: %w", err)
		}
	}
	return m, nil
}

// unregistered is where those count who asked for no metrics.
var unregistered = sync.OnceValue(func() *Metrics {
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		panic(err) // the names are constants
	}
	return m
})

func outcome(err error) string {
	switch {
	case err == nil, errors.Is(err, net.ErrClosed):
		return "ok"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrDraining):
		return "draining"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrUnanswered):
		return "unanswered"
	case errors.Is(err, ErrReset):
		return "reset"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	default:
		return "error"
	}
}
