package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"biplane.dev/biplane/bench/internal/circuit"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
	tunnelv1 "biplane.dev/biplane/gen/biplane/tunnel/v1"
)

const (
	echoes       = 4000
	farEchoes    = 25
	farRTT       = 40 * time.Millisecond
	nearBytes    = 256 << 20
	farBytes     = 128 << 20
	stalledFlows = 128
	manyStreams  = 2000
	stallQuiet   = 100 * time.Millisecond
)

// tunnel measures a relay and a tunnel session against direct TLS, all in this process: clients, front door, and what is
// between them share the cores. Ratios mean more than figures.
func (b *bench) tunnel(ctx context.Context) error {
	figures := b.table("tunnel")
	for range b.repeats {
		for _, step := range []func(context.Context, *table) error{tunnelEchoes, tunnelBytes, tunnelFar, tunnelStalled, tunnelMany} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := step(ctx, figures); err != nil {
				return err
			}
		}
	}
	return figures.done()
}

// quiet is a window without a plane: load, and cores that others used.
func quiet(measure func() error) (c cost, err error) {
	if c.load, err = process.Load(); err != nil {
		return c, err
	}
	before, err := process.Busy()
	if err != nil {
		return c, err
	}
	own, err := process.UsageOf(os.Getpid())
	if err != nil {
		return c, err
	}
	began := time.Now()
	if err := measure(); err != nil {
		return c, err
	}
	c.elapsed = time.Since(began)
	after, err := process.Busy()
	if err != nil {
		return c, err
	}
	used, err := process.UsageOf(os.Getpid())
	if err != nil {
		return c, err
	}
	c.driver = used.Sub(own)
	c.others = max(0, (after-before-c.driver.CPU-c.driver.Children).Seconds()/c.elapsed.Seconds())
	return c, nil
}

// both runs a measurement on the direct circuit and on the relayed one.
func both(rtt time.Duration, measure func(name string, c *circuit.Circuit) error) error {
	direct, err := circuit.Direct(rtt)
	if err != nil {
		return err
	}
	defer direct.Close()
	relayed, err := circuit.Relayed(rtt)
	if err != nil {
		return err
	}
	defer relayed.Close()
	return errors.Join(measure("direct", direct), measure("relayed", relayed))
}

// exchanges times 1 KiB there and back on one flow.
func exchanges(c *circuit.Circuit, n int) (times []time.Duration, err error) {
	flow, err := c.Echo()
	if err != nil {
		return nil, err
	}
	defer flow.Close()
	message := make([]byte, 1024)
	for i := range n + n/10 {
		began := time.Now()
		if err := flow.Exchange(message); err != nil {
			return nil, err
		}
		if i >= n/10 { // the first warm up
			times = append(times, time.Since(began))
		}
	}
	return times, nil
}

func tunnelEchoes(_ context.Context, figures *table) error {
	median := map[string]float64{}
	var last cost
	err := both(0, func(name string, c *circuit.Circuit) error {
		var times []time.Duration
		cost, err := quiet(func() (err error) {
			times, err = exchanges(c, echoes)
			return err
		})
		if err != nil {
			return err
		}
		last = cost
		median[name] = us(quantile(times, 0.5))
		figures.add(cost, "tunnel/echo/"+name, median[name], "µs", report.Lower, 0, "p50 of 1 KiB there and back")
		figures.add(cost, "tunnel/echo/"+name+"/p99", us(quantile(times, 0.99)), "µs", report.Lower, 0, "")
		return nil
	})
	if err != nil {
		return err
	}
	figures.add(last, "tunnel/echo/added", median["relayed"]-median["direct"], "µs", report.Lower, 60, "p50, relayed less direct")
	return nil
}

// rate moves bytes in some flows at once, and returns MB/s.
func rate(c *circuit.Circuit, flows int, total int64, move func(*circuit.Circuit, int64) error) (float64, cost, error) {
	cost, err := quiet(func() error {
		var moving sync.WaitGroup
		failures := make([]error, flows)
		for i := range flows {
			moving.Go(func() { failures[i] = move(c, total/int64(flows)) })
		}
		moving.Wait()
		return errors.Join(failures...)
	})
	return float64(total) / 1e6 / cost.elapsed.Seconds(), cost, err
}

func throughput(figures *table, prefix string, rtt time.Duration, total int64, mark float64) error {
	ways := []struct {
		name string
		move func(*circuit.Circuit, int64) error
	}{{"down", (*circuit.Circuit).Download}, {"up", (*circuit.Circuit).Upload}}
	rates, cpus := map[string]float64{}, map[string]float64{}
	return both(rtt, func(name string, c *circuit.Circuit) error {
		for _, flows := range []int{1, 8} {
			for _, way := range ways {
				got, cost, err := rate(c, flows, total, way.move)
				if err != nil {
					return fmt.Errorf("%s, %d flows %s: %w", name, flows, way.name, err)
				}
				figure := fmt.Sprintf("%s/%s-%d", prefix, way.name, flows)
				cpu := us(cost.driver.CPU) / (float64(total) / 1e6)
				figures.add(cost, figure+"/"+name, got, "MB/s", report.Higher, 0, "")
				figures.add(cost, figure+"/"+name+"/cpu", cpu, "µs/MB", report.Lower, 0, "CPU of all ends together")
				if name == "direct" {
					rates[figure], cpus[figure] = got, cpu
					continue
				}
				figures.add(cost, figure+"/ratio", got/rates[figure], "of direct", report.Higher, mark, "")
				figures.add(cost, figure+"/cpu-ratio", cpu/cpus[figure], "of direct", report.Lower, 0, "CPU")
			}
		}
		return nil
	})
}

func tunnelBytes(_ context.Context, figures *table) error {
	return throughput(figures, "tunnel/near", 0, nearBytes, 0.5)
}

func tunnelFar(_ context.Context, figures *table) error {
	err := both(farRTT, func(name string, c *circuit.Circuit) error {
		var times []time.Duration
		cost, err := quiet(func() (err error) {
			times, err = exchanges(c, farEchoes)
			return err
		})
		if err != nil {
			return err
		}
		figures.add(cost, "tunnel/far/echo/"+name, ms(quantile(times, 0.5)), "ms", report.Lower, 0, "p50 of 1 KiB there and back, RTT 40 ms")
		return nil
	})
	if err != nil {
		return err
	}
	return throughput(figures, "tunnel/far", farRTT, farBytes, 1/1.5)
}

// tunnelStalled: another flow while many do not move.
func tunnelStalled(_ context.Context, figures *table) error {
	c, err := circuit.Relayed(0)
	if err != nil {
		return err
	}
	defer c.Close()
	measure := func(name string) error {
		var times []time.Duration
		cost, err := quiet(func() (err error) {
			times, err = exchanges(c, echoes)
			return err
		})
		if err != nil {
			return err
		}
		figures.add(cost, "tunnel/stalled/"+name, us(quantile(times, 0.5)), "µs", report.Lower, 0, "p50 of 1 KiB on a new flow")
		figures.add(cost, "tunnel/stalled/"+name+"/p99", us(quantile(times, 0.99)), "µs", report.Lower, 0, "")
		return nil
	}
	if err := measure("before"); err != nil {
		return err
	}
	var stalling sync.WaitGroup
	flows, failures := make([]*circuit.Flow, stalledFlows), make([]error, stalledFlows)
	for i := range flows {
		stalling.Go(func() { flows[i], failures[i] = c.Stall(stallQuiet) })
	}
	stalling.Wait()
	defer func() {
		for _, flow := range flows {
			if flow != nil {
				flow.Close()
			}
		}
	}()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return measure("with-128")
}

// tunnelMany is the memory of streams that are open and have been used.
func tunnelMany(ctx context.Context, figures *table) error {
	// Without the front door: no inner TLS, no goroutine, only the two ends of each stream.
	c, err := circuit.Sessions()
	if err != nil {
		return err
	}
	defer c.Close()
	before := held()
	var ends []net.Conn
	cost, err := quiet(func() error {
		message := make([]byte, 1024)
		for range manyStreams {
			outside, err := c.Relay.Open(ctx, &tunnelv1.Meta{ServerName: "front", ClientAddress: "192.0.2.1:1"})
			if err != nil {
				return err
			}
			inside, _, err := c.Plane.Accept(ctx)
			if err != nil {
				return err
			}
			ends = append(ends, outside, inside)
			for _, way := range [][2]net.Conn{{outside, inside}, {inside, outside}} {
				if _, err := way[0].Write(message); err != nil {
					return err
				}
				if _, err := io.ReadFull(way[1], message); err != nil {
					return err
				}
			}
		}
		return nil
	})
	defer func() {
		for _, conn := range ends {
			conn.Close()
		}
	}()
	if err != nil {
		return err
	}
	grown := held() - before
	figures.add(cost, "tunnel/streams/memory", float64(grown)/manyStreams, "B/stream", report.Lower, 0, "2,000 open streams that have been used, both ends together")
	figures.add(cost, "tunnel/streams/open", us(cost.elapsed)/manyStreams, "µs/stream", report.Lower, 0, "open, accept, 1 KiB each way")
	runtime.KeepAlive(ends)
	return nil
}

// held is the memory of this process after a collection: heap and stacks.
func held() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
