package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// window is one stretch of measuring: what the machine, the driver and the plane used from its begin to its end.
type window struct {
	plane   *process.Plane
	began   time.Time
	busy    time.Duration
	driver  process.Usage
	data    process.Usage
	control process.Usage
	metrics map[string]float64
	load    float64
}

// cost is what a window came to.
type cost struct {
	elapsed time.Duration
	driver  process.Usage
	data    process.Usage
	control process.Usage
	metrics map[string]float64 // how much each grew
	others  float64            // cores that other processes used
	load    float64
}

func open(ctx context.Context, plane *process.Plane) (w *window, err error) {
	w = &window{plane: plane}
	if w.load, err = process.Load(); err != nil {
		return nil, err
	}
	if w.metrics, err = plane.Metrics(ctx); err != nil {
		return nil, err
	}
	if w.driver, w.data, w.control, err = usages(plane); err != nil {
		return nil, err
	}
	if w.busy, err = process.Busy(); err != nil {
		return nil, err
	}
	w.began = time.Now()
	return w, nil
}

func usages(plane *process.Plane) (driver, data, control process.Usage, err error) {
	if driver, err = process.UsageOf(os.Getpid()); err != nil {
		return
	}
	if data, err = process.UsageOf(plane.Data); err != nil || plane.Control == 0 {
		return
	}
	control, err = process.UsageOf(plane.Control)
	return
}

func (w *window) close(ctx context.Context) (c cost, err error) {
	c.elapsed, c.load = time.Since(w.began), w.load
	busy, err := process.Busy()
	if err != nil {
		return c, err
	}
	driver, data, control, err := usages(w.plane)
	if err != nil {
		return c, err
	}
	c.driver, c.data, c.control = driver.Sub(w.driver), data.Sub(w.data), control.Sub(w.control)
	own := c.driver.CPU + c.driver.Children + c.data.CPU + c.data.Children + c.control.CPU
	c.others = max(0, (busy-w.busy-own).Seconds()/c.elapsed.Seconds())
	after, err := w.plane.Metrics(ctx)
	if err != nil {
		return c, err
	}
	c.metrics = map[string]float64{}
	for name, value := range after {
		c.metrics[name] = value - w.metrics[name]
	}
	return c, nil
}

// series collects the repeats of one figure.
type series struct {
	report.Figure
	better report.Better
	loads  []float64
	others []float64
}

// table is the figures of a suite, in the order in which they were first seen.
type table struct {
	b      *bench
	group  string
	series []*series
}

func (b *bench) table(group string) *table { return &table{b: b, group: group} }

// add takes one more value of the figure name.
func (t *table) add(c cost, name string, value float64, unit string, better report.Better, mark float64, note string) {
	i := slices.IndexFunc(t.series, func(s *series) bool { return s.Name == name })
	if i < 0 {
		t.series = append(t.series, &series{Figure: report.Figure{Name: name, Unit: unit, Mark: mark, Note: note}, better: better})
		i = len(t.series) - 1
	}
	s := t.series[i]
	s.Values, s.loads, s.others = append(s.Values, value), append(s.loads, c.load), append(s.others, c.others)
}

// done hands the figures to the report.
func (t *table) done() error {
	for _, s := range t.series {
		s.Load, s.Others = slices.Max(s.loads), slices.Max(s.others)
		if err := t.b.report.Add(t.group, s.better, s.Figure); err != nil {
			return err
		}
	}
	return nil
}

// costs adds what an action cost the planes and the driver.
func (t *table) costs(c cost, name string, actions int) {
	n := float64(actions)
	t.add(c, name+"/cpu", us(c.data.CPU)/n, "µs/action", report.Lower, 0, "CPU of the data plane")
	if c.control.CPU > 0 {
		t.add(c, name+"/control-cpu", us(c.control.CPU)/n, "µs/action", report.Lower, 0, "CPU of the control plane")
	}
	t.add(c, name+"/driver-cpu", us(c.driver.CPU)/n, "µs/action", report.Lower, 0, "CPU of this driver")
	t.add(c, name+"/written", float64(c.data.Written)/n, "B/action", report.Lower, 0, "by the data plane, WAL included")
	if batches, known := c.metrics["biplane_engine_commits_total"]; known {
		t.add(c, name+"/commits", batches/n, "commits/action", report.Lower, 0, "transactions of the engine")
	}
}

// idle polls until the plane has nothing to do, so that one case does not slow the next.
func idle(ctx context.Context, plane *process.Plane) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		metrics, err := plane.Metrics(ctx)
		if err != nil || metrics["biplane_engine_actions"] == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the plane still holds %.0f actions: %w", metrics["biplane_engine_actions"], ctx.Err())
		}
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile of times, q from 0 to 1. It sorts its argument.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(q*float64(len(times))))]
}
