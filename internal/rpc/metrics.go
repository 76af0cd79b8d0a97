package rpc

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count RPCs. Labels have few values: procedures that are mounted, outcomes from a closed list (a code's name, ok,
// panic, stopped, and for what no handler saw: overload, refused).
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	messages *prometheus.CounterVec
}

func newMetrics(s *Server) (*metrics, error) {
	labels := prometheus.Labels{"server": s.config.Name}
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(value()) })
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_rpc_requests_total", Help: "RPCs that ended, by procedure and outcome.", ConstLabels: labels,
		}, []string{"procedure", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "biplane_rpc_seconds", Help: "Time that handlers of unary RPCs took.", ConstLabels: labels,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"procedure"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_rpc_stream_messages_total", Help: "Messages sent on streams.", ConstLabels: labels,
		}, []string{"procedure"}),
	}
	for _, collector := range []prometheus.Collector{
		m.requests, m.seconds, m.messages,
		gauge("biplane_rpc_unary_in_flight", "Unary RPCs in flight.", s.unary.inside.Load),
		gauge("biplane_rpc_streams_open", "Streams open.", s.streams.inside.Load),
		gauge("biplane_rpc_body_bytes", "Memory held by the bodies of requests in flight.", s.bodies.used.Load),
		gauge("biplane_rpc_connections", "Connections open.", s.conns.open),
	} {
		if err := s.config.Metrics.Register(collector); err != nil {
			return nil, fmt.Errorf("rpc: metrics of server %q: %w", s.config.Name, err)
		}
	}
	return m, nil
}

func (m *metrics) ended(p *procedure, outcome string, took time.Duration) {
	m.requests.WithLabelValues(p.path, outcome).Inc()
	if !p.stream {
		m.seconds.WithLabelValues(p.path).Observe(took.Seconds())
	}
}

func (m *metrics) refused(p *procedure, outcome string) {
	m.requests.WithLabelValues(p.path, outcome).Inc()
}

func (m *metrics) sent(p *procedure) { m.messages.WithLabelValues(p.path).Inc() }
