package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"biplane.dev/biplane/gen/flyteidl2/task"
	"biplane.dev/biplane/internal/data/schedule"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// records stands for the registry: it survives the scheduler.
type records struct {
	mu       sync.Mutex
	wake     chan struct{}
	rows     map[string]*row // by the trigger's name
	seq      int64
	markFail bool
}

type row struct {
	schedule.Trigger
	seq int64
}

func newRecords() *records {
	return &records{wake: make(chan struct{}, 1), rows: map[string]*row{}}
}

func (r *records) Wake() <-chan struct{} { return r.wake }

func (r *records) put(t schedule.Trigger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.rows[t.ID.Name] = &row{t, r.seq}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *records) Changed(_ context.Context, after int64, limit int) ([]schedule.Trigger, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var changed []*row
	for _, one := range r.rows {
		if one.seq > after {
			changed = append(changed, one)
		}
	}
	slices.SortFunc(changed, func(a, b *row) int { return int(a.seq - b.seq) })
	var out []schedule.Trigger
	for _, one := range changed[:min(limit, len(changed))] {
		out, after = append(out, one.Trigger), one.seq
	}
	return out, after, nil
}

func (r *records) Fire(_ context.Context, id names.Trigger, at time.Time) (schedule.Fire, error) {
	return schedule.Fire{Run: names.Run{Project: id.Project, Name: schedule.RunName(id, at)}, Trigger: id, At: at}, nil
}

func (r *records) Mark(_ context.Context, marks []schedule.Mark) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.markFail {
		return fault.New(fault.KindUnavailable, "the disk is full")
	}
	for _, mark := range marks {
		r.seq++
		r.rows[mark.ID.Name].Settled, r.rows[mark.ID.Name].seq = mark.Settled, r.seq
	}
	return nil
}

// runs stands for the gateway: a run exists once, whoever asks.
type runs struct {
	mu    sync.Mutex
	made  map[string]bool
	fired []string // "name time", in order
	fail  func(schedule.Fire) error
}

func (r *runs) Fire(_ context.Context, f schedule.Fire) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		if err := r.fail(f); err != nil {
			return err
		}
	}
	if r.made[f.Run.Name] {
		return fault.New(fault.KindExists, "run exists")
	}
	if r.made == nil {
		r.made = map[string]bool{}
	}
	r.made[f.Run.Name] = true
	r.fired = append(r.fired, f.Trigger.Name+" "+f.At.UTC().Format("15:04"))
	return nil
}

func (r *runs) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.fired
	r.fired = nil
	return taken
}

// start runs a scheduler inside the test's bubble; the returned function ends it as a crash would, between two steps.
func start(t *testing.T, from schedule.Triggers, to schedule.Runs, now func() time.Time) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		schedule.New(from, to, slog.New(slog.DiscardHandler), now).Run(ctx)
		close(done)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func trigger(t *testing.T, name string, spec *task.TriggerAutomationSpec, catchUp string) schedule.Trigger {
	s, err := schedule.Parse(spec, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return schedule.Trigger{ID: names.Trigger{Project: names.Project{Org: "o", Project: "p", Domain: "d"}, Task: "t", Name: name}, Revision: 1, Active: true, Schedule: s, Policy: policy(t, catchUp), From: time.Now()}
}

// after lets time pass and compares what fired. Bubbles start at midnight UTC.
func after(t *testing.T, r *runs, d time.Duration, want ...string) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("after %v fired %v, want %v", d, got, want)
	}
}

func TestSchedulerFiresOnTimeAndFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := newRecords(), &runs{}
		start(t, from, to, time.Now)
		after(t, to, time.Hour)
		a := trigger(t, "a", cron("0 * * * *", "UTC"), "")
		from.put(a)
		after(t, to, time.Hour+time.Second, "a 02:00")
		from.put(trigger(t, "b", every(30, minutes, ""), ""))
		after(t, to, time.Hour, "b 02:30", "a 03:00", "b 03:00")
		a.Active, a.Revision = false, 2
		from.put(a)
		after(t, to, time.Hour, "b 03:30", "b 04:00")
		a = trigger(t, "a", cron("5 * * * *", "UTC"), "")
		a.Revision = 3
		from.put(a)
		after(t, to, 10*time.Minute, "a 04:05")
	})
}

func TestSchedulerCatchesUpAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := newRecords(), &runs{}
		stop := start(t, from, to, time.Now)
		for _, p := range []string{"one", "skip", "all", "all:2"} {
			from.put(trigger(t, p, cron("0 * * * *", "UTC"), p))
		}
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		if len(to.take()) != 4 {
			t.Fatal("not all fired at one o'clock")
		}
		stop()
		time.Sleep(3*time.Hour + 10*time.Minute) // until 04:11
		stop = start(t, from, to, time.Now)
		time.Sleep(time.Second)
		synctest.Wait()
		got := to.take()
		slices.Sort(got)
		if want := []string{"all 02:00", "all 03:00", "all 04:00", "all:2 03:00", "all:2 04:00", "one 04:00"}; !slices.Equal(got, want) {
			t.Errorf("caught up with %v, want %v", got, want)
		}
		stop()
		start(t, from, to, time.Now) // again: nothing is left
		after(t, to, time.Minute)
	})
}

// The plane dies after the run was made and before that was recorded.
func TestSchedulerFiresOnceWhenTheMarkIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := newRecords(), &runs{}
		from.put(trigger(t, "a", cron("0 * * * *", "UTC"), "all"))
		from.markFail = true
		stop := start(t, from, to, time.Now)
		after(t, to, 2*time.Hour+time.Minute, "a 01:00", "a 02:00")
		stop()
		from.markFail = false
		start(t, from, to, time.Now)
		after(t, to, time.Hour, "a 03:00")
		if settled := from.rows["a"].Settled; settled.Hour() != 3 {
			t.Errorf("settled %v", settled)
		}
	})
}

func TestSchedulerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := newRecords(), &runs{}
		tries := 0
		to.fail = func(f schedule.Fire) error {
			if f.Trigger.Name == "gone" {
				return fault.NotFound("task", "t")
			}
			if tries++; tries < 4 {
				return errors.New("broken")
			}
			return nil
		}
		from.put(trigger(t, "gone", cron("0 * * * *", "UTC"), ""))
		from.put(trigger(t, "shaky", cron("0 * * * *", "UTC"), ""))
		start(t, from, to, time.Now)
		after(t, to, time.Hour+5*time.Minute, "shaky 01:00")
		if tries != 4 {
			t.Errorf("%d tries", tries)
		}
		to.mu.Lock()
		to.fail = nil
		to.mu.Unlock()
		// What failed for good at one o'clock is given up; the next time is another matter.
		time.Sleep(time.Hour)
		synctest.Wait()
		got := to.take()
		slices.Sort(got)
		if !slices.Equal(got, []string{"gone 02:00", "shaky 02:00"}) {
			t.Errorf("fired %v", got)
		}
	})
}

func TestSchedulerWhenTheClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var offset time.Duration
		jump := func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			offset += d
		}
		now := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(offset)
		}
		from, to := newRecords(), &runs{}
		from.put(trigger(t, "a", cron("0 * * * *", "UTC"), ""))
		start(t, from, to, now)
		after(t, to, time.Hour+time.Minute, "a 01:00")
		jump(5 * time.Hour) // 06:01: noticed without waiting for a timer that was set for two o'clock
		after(t, to, time.Minute, "a 06:00")
		jump(-5 * time.Hour) // 01:02: nothing again until the clock has caught up
		after(t, to, 5*time.Hour+30*time.Minute)
		after(t, to, time.Hour, "a 07:00")
		jump(20 * 365 * 24 * time.Hour) // a broken clock
		after(t, to, time.Minute, "a 07:00")
		jump(-20 * 365 * 24 * time.Hour) // and its repair do not silence the trigger
		after(t, to, time.Hour, "a 08:00")
	})
}

func TestManyTriggersAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 20_000
		from, to := newRecords(), &runs{}
		for i := range many {
			from.put(trigger(t, fmt.Sprint(i), every(60, minutes, ""), ""))
		}
		stop := start(t, from, to, time.Now)
		for range 2 {
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := to.take(); len(got) != many {
				t.Fatalf("%d fired", len(got))
			}
		}
		stop()
		if len(to.made) != 2*many {
			t.Errorf("%d runs", len(to.made))
		}
	})
}
