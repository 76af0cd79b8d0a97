package schedule

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
)

// Trigger is what the scheduler knows of a trigger.
type Trigger struct {
	ID       names.Trigger
	Revision int64
	Active   bool // false also for a deleted one; then only ID counts
	Schedule Schedule
	Policy   Policy
	From     time.Time // the schedule counts from here
	Settled  time.Time // times up to this one have fired or were given up; zero when none
	Problem  error     // set when the schedule cannot be read, say because its time zone is no more; it does not fire
}

// Mark records how far a trigger has come.
type Mark struct {
	ID      names.Trigger
	Settled time.Time
	Fired   time.Time // the last time that really fired; zero when none did since the last mark
}

// Triggers is where triggers are kept. The registry implements it.
type Triggers interface {
	// Wake holds a signal after triggers have changed.
	Wake() <-chan struct{}
	// Changed returns up to limit triggers that changed after a number of the store's change sequence, and the number to ask
	// for next.
	Changed(ctx context.Context, after int64, limit int) ([]Trigger, int64, error)
	// Fire completes a fire with what the trigger runs now. A trigger that is gone or off is a fault.
	Fire(ctx context.Context, id names.Trigger, at time.Time) (Fire, error)
	// Mark records marks, all or none.
	Mark(ctx context.Context, marks []Mark) error
}

// Limits of the scheduler.
const (
	// longestSleep is how long a jump of the wall clock can go unnoticed: timers follow elapsed time.
	longestSleep = 10 * time.Second
	batch        = 256 // triggers per round of firing and marking
	together     = 16  // fires in flight
	fireTimeout  = 30 * time.Second
	firstRetry   = time.Second
	lastRetry    = time.Minute
)

// Scheduler fires triggers. Run is its only goroutine; it owns all fields.
type Scheduler struct {
	triggers Triggers
	runs     Runs
	log      *slog.Logger
	now      func() time.Time // the wall clock; it may jump

	entries map[names.Trigger]*entry
	queue   queue
	cursor  int64                  // of the change sequence
	unsaved map[names.Trigger]Mark // marks that could not be written yet
	last    time.Time              // what the clock showed last
}

// entry is an active trigger that will fire again.
type entry struct {
	Trigger
	cursor  time.Time // settled, in memory
	at      time.Time // when to step
	retry   time.Duration
	ordinal int // in the queue
}

// New returns a scheduler that reads triggers and starts runs. now is the wall clock, time.Now outside of tests.
func New(triggers Triggers, runs Runs, log *slog.Logger, now func() time.Time) *Scheduler {
	return &Scheduler{triggers: triggers, runs: runs, log: log, now: now,
		entries: map[names.Trigger]*entry{}, unsaved: map[names.Trigger]Mark{}}
}

// Run fires triggers until ctx is done.
func (s *Scheduler) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		pause := longestSleep
		if err := s.load(ctx); err != nil {
			s.log.Warn("cannot read triggers, trying again", "error", err)
			pause = firstRetry
		}
		s.watchClock()
		if s.fireDue(ctx) {
			continue // by way of load: a trigger that was turned off meanwhile must not fire
		}
		if len(s.unsaved) > 0 {
			pause = firstRetry
		}
		if len(s.queue) > 0 {
			pause = max(0, min(pause, s.queue[0].at.Sub(s.now())))
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.triggers.Wake():
		}
	}
}

// load brings the entries up to date with the registry.
func (s *Scheduler) load(ctx context.Context) error {
	for {
		changed, next, err := s.triggers.Changed(ctx, s.cursor, batch)
		if err != nil {
			return err
		}
		for _, t := range changed {
			s.put(t)
		}
		s.cursor = next
		if len(changed) < batch {
			return nil
		}
	}
}

func (s *Scheduler) put(t Trigger) {
	old := s.entries[t.ID]
	if old != nil {
		if t.Active && t.Revision == old.Revision && t.From.Equal(old.From) {
			return // our own mark comes back
		}
		heap.Remove(&s.queue, old.ordinal)
		delete(s.entries, t.ID)
	}
	if t.Problem != nil {
		s.log.Error("a trigger cannot be scheduled, deploy it again", "trigger", t.ID, "error", t.Problem)
		return
	}
	if !t.Active {
		return
	}
	e := &entry{Trigger: t, cursor: t.From}
	if t.Settled.After(e.cursor) {
		e.cursor = t.Settled
	}
	if old != nil && old.cursor.After(e.cursor) && t.From.Equal(old.From) {
		e.cursor = old.cursor // what a mark has not reached the registry with, or the policy gave up
	}
	if e.at = e.Schedule.Next(e.cursor); e.at.IsZero() {
		return
	}
	if now := s.now(); e.cursor.After(now.Add(WrongClock)) {
		e.at = now // Step drops the cursor
	}
	s.entries[t.ID] = e
	heap.Push(&s.queue, e)
}

// watchClock steps every trigger anew when the clock was set back: the times at which to step were made for another clock.
func (s *Scheduler) watchClock() {
	now := s.now().Round(0)
	if now.Before(s.last.Add(-Tolerance)) {
		s.log.Warn("the clock was set back", "from", s.last, "to", now)
		for _, e := range s.queue {
			e.at = now
		}
		heap.Init(&s.queue)
	}
	s.last = now
}

// fireDue fires one batch of what is due, and says whether there may be more.
func (s *Scheduler) fireDue(ctx context.Context) bool {
	now := s.now().Round(0)
	var due []*entry
	for len(due) < batch && len(s.queue) > 0 && !s.queue[0].at.After(now) {
		due = append(due, heap.Pop(&s.queue).(*entry))
	}
	marks := make([]Mark, len(due))
	var wait sync.WaitGroup
	slots := make(chan struct{}, together)
	for i, e := range due {
		slots <- struct{}{}
		wait.Go(func() {
			marks[i] = s.fire(ctx, e, now)
			<-slots
		})
	}
	wait.Wait()
	for i, e := range due {
		if !marks[i].Settled.IsZero() {
			if old := s.unsaved[e.ID]; marks[i].Fired.IsZero() {
				marks[i].Fired = old.Fired
			}
			s.unsaved[e.ID] = marks[i]
		}
		if e.at.IsZero() {
			delete(s.entries, e.ID)
			continue
		}
		heap.Push(&s.queue, e)
	}
	s.save(ctx)
	return len(due) == batch && ctx.Err() == nil
}

// fire fires what is due of one trigger and sets when to step it again. It touches nothing but e.
func (s *Scheduler) fire(ctx context.Context, e *entry, now time.Time) Mark {
	due := Step(e.Schedule, e.Policy, e.cursor, now)
	mark := Mark{ID: e.ID}
	for _, at := range due.Fires {
		err := s.start(ctx, e.ID, at)
		if err != nil && (ctx.Err() != nil || passing(err)) {
			// Later times wait for this one; the policy decides at the next try what is still made up for.
			e.retry = min(max(firstRetry, 2*e.retry), lastRetry)
			e.at = now.Add(e.retry)
			s.log.Warn("cannot start the run of a trigger, trying again", "trigger", e.ID, "time", at, "in", e.retry, "error", err)
			return mark
		}
		e.retry = 0
		if err == nil {
			mark.Fired = at
		} else {
			s.log.Warn("a trigger cannot run at this time", "trigger", e.ID, "time", at, "error", err)
		}
		e.cursor, mark.Settled = at, at
	}
	if !due.Settled.Equal(e.cursor) {
		e.cursor, mark.Settled = due.Settled, due.Settled
	}
	e.at = due.Next
	return mark
}

func (s *Scheduler) start(ctx context.Context, id names.Trigger, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, fireTimeout)
	defer cancel()
	fire, err := s.triggers.Fire(ctx, id, at)
	if err != nil {
		return err
	}
	if err := s.runs.Fire(ctx, fire); err != nil && !fault.Is(err, fault.KindExists) {
		return err
	}
	return nil
}

// passing says whether a failure may pass by itself.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindExhausted, fault.KindDeadline, fault.KindInternal:
		return true
	default:
		return false
	}
}

// save writes the marks. What cannot be written stays: if the plane dies first, the names of the runs keep their times from
// firing twice.
func (s *Scheduler) save(ctx context.Context) {
	if len(s.unsaved) == 0 {
		return
	}
	marks := make([]Mark, 0, len(s.unsaved))
	for _, mark := range s.unsaved {
		marks = append(marks, mark)
	}
	if err := s.triggers.Mark(ctx, marks); err != nil {
		s.log.Warn("cannot record what has fired, trying again", "error", err)
		return
	}
	clear(s.unsaved)
}

// queue is a heap of entries by the time at which to step them.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].ordinal, q[j].ordinal = i, j
}
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.ordinal = len(*q)
	*q = append(*q, e)
}
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
