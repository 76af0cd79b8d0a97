package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// onPlane runs fn on a new data plane, and shows the plane's log when fn fails.
func (b *bench) onPlane(ctx context.Context, fn func(*process.Plane) error, flags ...string) (err error) {
	plane, err := process.StartData(ctx, b.programs, flags...)
	if err != nil {
		return err
	}
	return finish(plane, fn(plane))
}

func finish(plane *process.Plane, err error) error {
	if err != nil {
		err = fmt.Errorf("%w\nthe plane's log: %s", err, plane.Log())
	}
	return errors.Join(err, plane.Stop())
}

// underParent runs fn with a client of its own and a new parent whose children sleep for length.
func underParent(ctx context.Context, plane *process.Plane, length time.Duration, fn func(*controller.Parent) error) error {
	client := controller.NewClient(plane.URL)
	defer client.Close()
	parent, err := client.Open(ctx, length)
	if err != nil {
		return err
	}
	return errors.Join(fn(parent), parent.Close(context.WithoutCancel(ctx)))
}

func (b *bench) fanOuts(ctx context.Context) error {
	t := b.table("fanout")
	for _, n := range []int{1000, 6000, 100_000} {
		mark := 3000.0
		err := b.onPlane(ctx, func(plane *process.Plane) error {
			repeats := b.repeats
			if n > 10_000 {
				repeats = 1
			}
			for range repeats {
				err := underParent(ctx, plane, 0, func(parent *controller.Parent) error { return fanOut(ctx, t, plane, parent, n, mark) })
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return t.done()
}

func fanOut(ctx context.Context, t *table, plane *process.Plane, parent *controller.Parent, n int, mark float64) error {
	w, err := open(ctx, plane)
	if err != nil {
		return err
	}
	fan, err := parent.FanOut(ctx, 0, n)
	if err != nil {
		return err
	}
	c, err := w.close(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s/%d", t.group, n)
	note := ""
	if fan.Retries > 0 {
		note = fmt.Sprintf("%d enqueues were told to slow down", fan.Retries)
	}
	t.add(c, name, float64(n)/fan.Elapsed.Seconds(), "actions/s", report.Higher, mark, note)
	t.add(c, name+"/enqueue-p50", ms(quantile(fan.Enqueues, 0.5)), "ms", report.Lower, 0, "20 workers at once")
	t.add(c, name+"/enqueue-p99", ms(quantile(fan.Enqueues, 0.99)), "ms", report.Lower, 0, "")
	t.costs(c, name, n)
	return nil
}

func (b *bench) chain(ctx context.Context) error {
	const hops = 500
	t := b.table("chain")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		for range b.repeats {
			err := underParent(ctx, plane, 0, func(parent *controller.Parent) error {
				w, err := open(ctx, plane)
				if err != nil {
					return err
				}
				times := make([]time.Duration, 0, hops)
				for i := range hops {
					began := time.Now()
					if err := parent.Call(ctx, i); err != nil {
						return err
					}
					times = append(times, time.Since(began))
				}
				c, err := w.close(ctx)
				if err != nil {
					return err
				}
				t.add(c, "chain/500", c.elapsed.Seconds(), "s", report.Lower, 0, "")
				t.add(c, "chain/500/hop-p50", ms(quantile(times, 0.5)), "ms", report.Lower, 3, "enqueue to the news of the end")
				t.add(c, "chain/500/hop-p99", ms(quantile(times, 0.99)), "ms", report.Lower, 0, "")
				t.add(c, "chain/500/hop-min", ms(quantile(times, 0)), "ms", report.Lower, 0, "")
				t.costs(c, "chain/500", hops)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, t.done())
}

func (b *bench) swarm(ctx context.Context) error {
	const parents, children = 50, 1000
	t := b.table("swarm")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		for range b.repeats {
			if err := swarmOnce(ctx, t, plane, parents, children); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, t.done())
}

func swarmOnce(ctx context.Context, t *table, plane *process.Plane, parents, children int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var opened, all sync.WaitGroup
	start := make(chan struct{})
	var mu sync.Mutex
	var enqueues []time.Duration
	retries := 0
	opened.Add(parents)
	for range parents {
		all.Go(func() {
			ready := sync.OnceFunc(opened.Done)
			defer ready()
			err := underParent(ctx, plane, 0, func(parent *controller.Parent) error {
				ready()
				<-start
				fan, err := parent.FanOut(ctx, 0, children)
				mu.Lock()
				defer mu.Unlock()
				enqueues, retries = append(enqueues, fan.Enqueues...), retries+fan.Retries
				return err
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	opened.Wait()
	w, err := open(ctx, plane)
	close(start)
	all.Wait()
	if err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	c, err := w.close(ctx)
	if err != nil {
		return err
	}
	n := parents * children
	name := fmt.Sprintf("swarm/%dx%d", parents, children)
	note := ""
	if retries > 0 {
		note = fmt.Sprintf("%d enqueues were told to slow down", retries)
	}
	t.add(c, name, float64(n)/c.elapsed.Seconds(), "actions/s", report.Higher, 0, note)
	t.add(c, name+"/enqueue-p50", ms(quantile(enqueues, 0.5)), "ms", report.Lower, 0, "1,000 workers at once")
	t.add(c, name+"/enqueue-p99", ms(quantile(enqueues, 0.99)), "ms", report.Lower, 5000, "the SDK gives up after 5 s")
	t.costs(c, name, n)
	return nil
}
