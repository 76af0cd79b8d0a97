package door

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome is where a connection was led, or why it was refused. The reasons of package hello, of the relay's refusals, and
// the names of protocols are outcomes, too.
type outcome string

const (
	ledToHTTP                 outcome = "http"
	ledToRelay                outcome = "relayed"
	refusedConnections        outcome = "too_many_connections"
	refusedPending            outcome = "too_many_pending"
	refusedAddresses          outcome = "too_many_addresses"
	refusedAddressRate        outcome = "address_rate"
	refusedAddressConnections outcome = "address_connections"
	refusedAddressPending     outcome = "address_pending"
	refusedName               outcome = "unknown_name"
	refusedHandshake          outcome = "handshake"
	refusedBusy               outcome = "http_busy"
	refusedStopping           outcome = "stopping"
	failed                    outcome = "failed"
)

type metrics struct {
	connections *prometheus.CounterVec
	encrypted   prometheus.Counter
}

func newMetrics(s *Server, registry prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, value func(*admission) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(value(s.admission))
		})
	}
	m := &metrics{
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "biplane_door_connections_total", Help: "Connections to the public port, by where they were led or why they were refused.",
		}, []string{"outcome"}),
		encrypted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "biplane_door_ech_total", Help: "Connections that offered an encrypted ClientHello, or pretended to; the outer name counted.",
		}),
	}
	for _, collector := range []prometheus.Collector{
		m.connections, m.encrypted,
		gauge("biplane_door_connections", "Connections open at the public port.", func(a *admission) int { return a.open }),
		gauge("biplane_door_pending", "Connections that have not said yet what they want.", func(a *admission) int { return a.pending }),
		gauge("biplane_door_addresses", "Client addresses told apart.", func(a *admission) int { return len(a.callers) }),
	} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("door: metrics: %w", err)
		}
	}
	return m, nil
}
