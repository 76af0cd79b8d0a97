package relay

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have labels of few values: no name of a plane or a client.
type metrics struct {
	sessions prometheus.Gauge
	streams  prometheus.Gauge
	attempts *prometheus.CounterVec
	ended    *prometheus.CounterVec
	passed   *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	opening  prometheus.Histogram
	seconds  prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer, replicas *Replicas) (*metrics, error) {
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "biplane_relay_sessions", Help: "Sessions of planes with this replica."}),
		streams:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "biplane_relay_streams", Help: "Connections being opened or carried."}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_relay_attempts_total", Help: "Ways tried for connections, by kind (session, peer) and outcome (ok, failed).",
		}, []string{"kind", "outcome"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_relay_streams_total", Help: "Connections that were carried, by how they ended: ok, reset, idle, half_closed, cut.",
		}, []string{"outcome"}),
		passed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_relay_passed_total", Help: "Connections that other replicas passed on to this one, by outcome: carried, refused.",
		}, []string{"outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_relay_bytes_total", Help: "Bytes carried, by direction: up to planes, down to clients.",
		}, []string{"direction"}),
		opening: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "biplane_relay_opening_seconds", Help: "Time until a plane's first answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "biplane_relay_stream_seconds", Help: "Time that connections were carried.",
			Buckets: []float64{.1, 1, 10, 60, 600, 3600, 36000},
		}),
	}
	collectors := []prometheus.Collector{m.sessions, m.streams, m.attempts, m.ended, m.passed, m.bytes, m.opening, m.seconds}
	if replicas != nil {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "biplane_relay_peers", Help: "Other replicas of the relay that live.",
		}, func() float64 { return float64(replicas.others()) }))
	}
	for _, collector := range collectors {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("relay: metrics: %w", err)
		}
	}
	return m, nil
}
