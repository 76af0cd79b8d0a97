package plane

import (
	"context"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/engine/shell"
)

// collector asks the engine's loop when somebody looks, so that counting costs nothing otherwise.
type collector struct {
	*Plane
	gauges  []gauge
	process []prometheus.Collector // of the process rather than the engine
}

type gauge struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(engine.Load, shell.Stats) float64
}

func newCollector(p *Plane) *collector {
	c := &collector{Plane: p, process: []prometheus.Collector{
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		// What the last collection found in use says whether memory grows; resident memory says it only roughly.
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: liveHeap})),
	}}
	add := func(name, help string, kind prometheus.ValueType, value func(engine.Load, shell.Stats) float64) {
		c.gauges = append(c.gauges, gauge{prometheus.NewDesc("biplane_engine_"+name, help, nil, nil), kind, value})
	}
	now, total := prometheus.GaugeValue, prometheus.CounterValue
	add("runs", "Unfinished runs in memory.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.Runs) })
	add("actions", "Unfinished actions in memory; limited by --max-actions.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.Actions) })
	add("attempts_alive", "Attempts with a process, slots lent included; limited by --max-processes.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.Alive) })
	add("attempts_holding", "Attempts that hold a slot.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.Holding) })
	add("cpu_millis", "Thousandths of cores that attempts hold; limited by --cpu.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.CPUMillis) })
	add("memory_bytes", "Memory that attempts hold by request; limited by --memory.", now, func(l engine.Load, _ shell.Stats) float64 { return float64(l.Memory) })
	add("inputs_total", "Requests and events that the loop has taken.", total, func(_ engine.Load, s shell.Stats) float64 { return float64(s.Inputs) })
	add("commits_total", "Transactions of the journal.", total, func(_ engine.Load, s shell.Stats) float64 { return float64(s.Batches) })
	add("commits_failed_total", "Transactions that failed and were undone.", total, func(_ engine.Load, s shell.Stats) float64 { return float64(s.FailedCommits) })
	add("rows_total", "Rows of actions written.", total, func(_ engine.Load, s shell.Stats) float64 { return float64(s.Rows) })
	add("commit_seconds_total", "Time spent in transactions.", total, func(_ engine.Load, s shell.Stats) float64 { return s.CommitTime.Seconds() })
	return c
}

var liveHeap = regexp.MustCompile(`^/gc/heap/live:bytes$`)

var watchers = prometheus.NewDesc("biplane_journal_watchers", "Streams that wait for changes.", nil, nil)

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- watchers
	for _, part := range c.process {
		part.Describe(out)
	}
	for _, g := range c.gauges {
		out <- g.description
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(watchers, prometheus.GaugeValue, float64(c.journal.Watchers()))
	for _, part := range c.process {
		part.Collect(out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var load engine.Load
	var stats shell.Stats
	if err := c.shell.Inspect(ctx, func(state *engine.State, s shell.Stats) { load, stats = state.Load(), s }); err != nil {
		return // a loop that does not answer has no numbers
	}
	for _, g := range c.gauges {
		out <- prometheus.MustNewConstMetric(g.description, g.kind, g.value(load, stats))
	}
}

// ready says whether the engine's loop answers.
func (p *Plane) ready(ctx context.Context) error {
	return p.shell.Inspect(ctx, func(*engine.State, shell.Stats) {})
}
