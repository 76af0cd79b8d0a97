package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"biplane.dev/biplane/bench/internal/controller"
	"biplane.dev/biplane/bench/internal/process"
	"biplane.dev/biplane/bench/internal/report"
)

// held measures what an unfinished action takes: 50,000 sleeps of an hour.
func (b *bench) held(ctx context.Context) error {
	const n, warm = 50_000, 60_000
	t := b.table("held")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		// Connections, buffers and the database's caches are there, and full, before the first reading.
		warming := func(parent *controller.Parent) error {
			_, err := parent.FanOut(ctx, 0, warm)
			return err
		}
		if err := underParent(ctx, plane, 0, warming); err != nil {
			return err
		}
		return underParent(ctx, plane, time.Hour, func(parent *controller.Parent) error {
			before, err := settle(ctx, plane)
			if err != nil {
				return err
			}
			w, err := open(ctx, plane)
			if err != nil {
				return err
			}
			if err := parent.Hold(ctx, n); err != nil {
				return err
			}
			c, err := w.close(ctx)
			if err != nil {
				return err
			}
			after, err := settle(ctx, plane)
			if err != nil {
				return err
			}
			t.add(c, "held/enqueued", n/c.elapsed.Seconds(), "actions/s", report.Higher, 0, "acknowledged, none ends")
			t.add(c, "held/rss", float64(after.Resident-before.Resident)/n, "B/action", report.Lower, 1024, "resident memory, the collector's slack included")
			if after.live > 0 {
				t.add(c, "held/live", (after.live-before.live)/n, "B/action", report.Lower, 0, "heap that is in use after a collection")
			}
			t.costs(c, "held", n)
			return abortAll(ctx, t, c, plane, parent)
		})
	})
	return errors.Join(err, t.done())
}

// abortAll aborts a run that holds many, while another run goes on making children.
func abortAll(ctx context.Context, t *table, c cost, plane *process.Plane, parent *controller.Parent) error {
	return underParent(ctx, plane, 0, func(other *controller.Parent) error {
		began := time.Now()
		acknowledged := make(chan error, 1)
		var answered time.Duration
		go func() {
			err := parent.Close(context.WithoutCancel(ctx))
			answered = time.Since(began)
			acknowledged <- err
		}()
		var slowest time.Duration
		for i := 0; ; i++ {
			hop := time.Now()
			if err := other.Call(ctx, i); err != nil {
				return errors.Join(err, <-acknowledged)
			}
			slowest = max(slowest, time.Since(hop))
			if i%10 > 0 {
				continue
			}
			metrics, err := plane.Metrics(ctx)
			if err != nil {
				return errors.Join(err, <-acknowledged)
			}
			if metrics["biplane_engine_actions"] <= 1 { // the root of the other
				break
			}
		}
		all := time.Since(began)
		if err := <-acknowledged; err != nil {
			return err
		}
		t.add(c, "held/aborted", answered.Seconds(), "s", report.Lower, 0, "until the abort is acknowledged")
		t.add(c, "held/aborted-all", all.Seconds(), "s", report.Lower, 0, "until the last of them has ended")
		t.add(c, "held/meanwhile", ms(slowest), "ms", report.Lower, 0, "slowest hop of another run meanwhile")
		return nil
	})
}

// finished measures whether memory grows with what has ended: children come and go under many parents, and resident memory is
// read after each tenth. Growth is counted from the middle on, when the database's caches are full.
func (b *bench) finished(ctx context.Context) error {
	total, perParent := 100_000, 10_000
	if b.long {
		total = 1_000_000
	}
	t := b.table("finished")
	err := b.onPlane(ctx, func(plane *process.Plane) error {
		var first, last memory
		w, err := open(ctx, plane)
		if err != nil {
			return err
		}
		for done := 0; done < total; {
			err := underParent(ctx, plane, 0, func(parent *controller.Parent) error {
				_, err := parent.FanOut(ctx, 0, perParent)
				return err
			})
			if err != nil {
				return err
			}
			done += perParent
			if done%(total/10) != 0 {
				continue
			}
			now, err := settle(ctx, plane)
			if err != nil {
				return err
			}
			if done <= total/2 {
				first = now
				first.actions = done
			}
			last = now
			last.actions = done
			c, err := w.close(ctx)
			if err != nil {
				return err
			}
			t.add(c, fmt.Sprintf("finished/rss-%d", done), float64(now.Resident)/(1<<20), "MiB", report.Lower, 0, "")
		}
		c, err := w.close(ctx)
		if err != nil {
			return err
		}
		n := float64(last.actions - first.actions)
		t.add(c, "finished/growth", float64(last.Resident-first.Resident)/n, "B/action", report.Lower, 0, "resident memory, from the middle to the end")
		if last.live > 0 {
			t.add(c, "finished/live-growth", (last.live-first.live)/n, "B/action", report.Lower, 0, "heap that is in use after a collection")
		}
		kept, err := plane.Kept()
		if err != nil {
			return err
		}
		t.add(c, "finished/disk", float64(kept)/float64(total), "B/action", report.Lower, 0, "size of the plane's folder, the log of 16 MiB included")
		t.add(c, "finished/rate", float64(total)/c.elapsed.Seconds(), "actions/s", report.Higher, 0, "over all, pauses for reading included")
		t.costs(c, "finished", total)
		return nil
	})
	return errors.Join(err, t.done())
}

// memory of a plane at rest.
type memory struct {
	process.Usage
	live    float64 // bytes that the last collection found in use; 0 when the plane does not say
	actions int
}

// settle waits until the plane's memory has stopped changing for a second (commits, checkpoints and the return of pages
// go on for a while after the last answer), and reads it.
func settle(ctx context.Context, plane *process.Plane) (m memory, err error) {
	const still, most, step = 4, 60, 250 * time.Millisecond
	same := 0
	for range most {
		before := m.Resident
		if m.Usage, err = process.UsageOf(plane.Data); err != nil {
			return m, err
		}
		if diff := m.Resident - before; max(diff, -diff) < 256<<10 {
			same++
		} else {
			same = 0
		}
		if same >= still {
			break
		}
		select {
		case <-time.After(step):
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
	metrics, err := plane.Metrics(ctx)
	m.live = metrics["go_gc_heap_live_bytes"]
	return m, err
}
