package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// creation is one way to make runs.
type creation struct {
	name   string
	task   controller.Task
	n, at  int  // how many, and how many at once
	upload bool // inputs of its own for each run, as the SDK does
	mark   float64
	note   string
}

var creations = []creation{
	{name: "create/serial", task: controller.Nap, n: 500, at: 1, note: "CreateRun of a task that ends at once and writes nothing"},
	{name: "create/16", task: controller.Nap, n: 3000, at: 16, mark: 1000, note: "the same, 16 at once"},
	{name: "create/echo-16", task: controller.Echo, n: 3000, at: 16, mark: 1000, note: "CreateRun of a task whose outputs the plane writes"},
	{name: "create/submit-16", task: controller.Echo, n: 2000, at: 16, upload: true, note: "UploadInputs before each CreateRun, as the SDK does"},
}

// create measures runs rather than children.
func (b *bench) create(ctx context.Context) error {
	t := b.table("create")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		for range b.repeats {
			for _, c := range creations {
				if err := createRuns(ctx, t, plane, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return errors.Join(err, t.done())
}

func createRuns(ctx context.Context, t *table, plane *process.Plane, how creation) error {
	client := controller.NewClient(plane.URL)
	defer client.Close()
	inputs, err := client.Upload(ctx, how.task, 0)
	if err != nil {
		return err
	}
	w, err := open(ctx, plane)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan int)
	var group sync.WaitGroup
	var mu sync.Mutex
	var times []time.Duration
	var runs []string
	for range how.at {
		group.Go(func() {
			for i := range todo {
				began, mine, err := time.Now(), inputs, error(nil)
				if how.upload {
					mine, err = client.Upload(ctx, how.task, time.Duration(i))
				}
				run := ""
				if err == nil {
					run, err = client.Create(ctx, how.task, mine)
				}
				if err != nil {
					cancel(err)
				}
				mu.Lock()
				times, runs = append(times, time.Since(began)), append(runs, run)
				mu.Unlock()
			}
		})
	}
	for i := range how.n {
		todo <- i
	}
	close(todo)
	group.Wait()
	answered := time.Since(w.began)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// What a run costs is known when it has ended.
	if err := idle(ctx, plane); err != nil {
		return err
	}
	c, err := w.close(ctx)
	if err != nil {
		return err
	}
	phase, err := client.Wait(ctx, runs[len(runs)-1])
	if err == nil && phase != controller.Succeeded {
		err = errors.New("the last run ended with " + phase.String())
	}
	t.add(c, how.name, float64(how.n)/answered.Seconds(), "runs/s", report.Higher, how.mark, how.note)
	t.add(c, how.name+"/p50", ms(quantile(times, 0.5)), "ms", report.Lower, 0, "")
	t.add(c, how.name+"/p99", ms(quantile(times, 0.99)), "ms", report.Lower, 0, "")
	t.costs(c, how.name, how.n)
	return err
}
