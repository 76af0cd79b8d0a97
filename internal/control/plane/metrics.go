package plane

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

// scrapeTime bounds what a scrape may cost.
const scrapeTime = 2 * time.Second

var (
	sequenceMetric  = prometheus.NewDesc("biplane_control_changes_total", "Numbers drawn from the control plane's change sequence.", nil, nil)
	reportingMetric = prometheus.NewDesc("biplane_control_plane_reporting", "1 while the data plane reports.", []string{"plane"}, nil)
	pendingMetric   = prometheus.NewDesc("biplane_control_commands_pending", "Commands that the data plane has not applied yet.", []string{"plane"}, nil)
)

// collector reads the numbers when it is asked.
type collector struct {
	db    store.DB
	fleet *fleet.Fleet
}

func newCollector(db store.DB, planes *fleet.Fleet) prometheus.Collector {
	return &collector{db: db, fleet: planes}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- sequenceMetric
	descriptions <- reportingMetric
	descriptions <- pendingMetric
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(sequenceMetric, prometheus.CounterValue, float64(c.db.Seq()))
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	planes, err := c.fleet.Planes(ctx, names.Org)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(reportingMetric, err)
		return
	}
	for _, plane := range planes {
		reporting := 0.0
		if plane.Reporting {
			reporting = 1
		}
		metrics <- prometheus.MustNewConstMetric(reportingMetric, prometheus.GaugeValue, reporting, plane.Name)
		metrics <- prometheus.MustNewConstMetric(pendingMetric, prometheus.GaugeValue, float64(plane.CommandsPending), plane.Name)
	}
}
