package frontdoor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count handshakes by outcome, from a closed list: ok, proof (an authority made sure of a name), unknown name, no
// certificate, time-out, not TLS, failed. Those that were crowded out are counted apart too: they end as failed.
type metrics struct {
	handshakes *prometheus.CounterVec
	crowded    prometheus.Counter
}

func newMetrics(d *Door) (*metrics, error) {
	m := &metrics{
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_frontdoor_handshakes_total", Help: "TLS handshakes of clients that ended, by outcome.",
		}, []string{"outcome"}),
		crowded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "biplane_frontdoor_crowded_out_total", Help: "Handshakes that were ended because too many were under way.",
		}),
	}
	going := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "biplane_frontdoor_handshakes", Help: "TLS handshakes under way.",
	}, func() float64 { return float64(d.going.number()) })
	for _, collector := range []prometheus.Collector{m.handshakes, m.crowded, going, certificates{d.config.Source}} {
		if err := d.config.Metrics.Register(collector); err != nil {
			return nil, fmt.Errorf("front door: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) ended(outcome string) { m.handshakes.WithLabelValues(outcome).Inc() }

// outcomeOf puts the ways in which a handshake can end into a short list.
func outcomeOf(err error) string {
	var waited net.Error
	var plain tls.RecordHeaderError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &plain):
		return "not TLS"
	case errors.As(err, &waited) && waited.Timeout():
		return "time-out"
	}
	return "failed"
}

// certificates tells, when somebody looks, until when each certificate is good and how often its renewal has failed.
type certificates struct{ source Source }

var (
	expires  = prometheus.NewDesc("biplane_frontdoor_certificate_expires_seconds", "When the certificate expires, in seconds since 1970; 0 when there is none.", []string{"name"}, nil)
	failures = prometheus.NewDesc("biplane_frontdoor_certificate_failures", "Tries in a row to get or renew the certificate that failed.", []string{"name"}, nil)
)

// Describe implements prometheus.Collector.
func (c certificates) Describe(out chan<- *prometheus.Desc) { out <- expires; out <- failures }

// Collect implements prometheus.Collector.
func (c certificates) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.source.Status().Certificates {
		name := ""
		if len(s.Names) > 0 {
			name = s.Names[0]
		}
		until := 0.0
		if !s.NotAfter.IsZero() {
			until = float64(s.NotAfter.Unix())
		}
		out <- prometheus.MustNewConstMetric(expires, prometheus.GaugeValue, until, name)
		out <- prometheus.MustNewConstMetric(failures, prometheus.GaugeValue, float64(s.Failures), name)
	}
}
