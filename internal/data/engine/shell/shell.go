package shell

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/data/journal"
	"biplane.dev/biplane/internal/fault"
)

// World carries out effects. Calls come from the loop, in order, and must not block: slow work is done by the World's own
// goroutines, which report through Shell.Tell.
type World interface {
	Start(engine.StartAttempt)
	Stop(engine.StopAttempt)
	Forget(engine.ForgetAttempt)
	Builtin(engine.RunBuiltin)
	Webhook(engine.PostWebhook)
	// Readable says whether the outputs that a cache entry points to are still there. It may block; it is called from
	// the lookup workers.
	Readable(ctx context.Context, outputURI string) bool
}

// Config of a shell.
type Config struct {
	Engine     engine.Config
	MaxPending int // requests that wait for the loop; more are refused with KindExhausted
	Log        *slog.Logger
	Task       func(digest string, spec []byte) (*engine.Task, error)
	Now        func() time.Time
}

// Shell owns the engine's state.
type Shell struct {
	config  Config
	journal *journal.Journal
	world   World
	inbox   *inbox
	lookups *lookups
	state   *engine.State

	known    map[string]bool // digests of specifications that are in the journal
	finished *finished       // names of actions that are in the journal and not in memory
	lastRun  int64           // highest id of a run that the journal holds
	Stats    Stats
	closed   chan struct{}
}

// Stats counts what the loop did, for metrics; read it through Inspect.
type Stats struct {
	Batches, Inputs, FailedCommits, Rows uint64
	CommitTime                           time.Duration
}

// New makes a shell; Run starts it.
func New(config Config, j *journal.Journal, world World) *Shell {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Shell{config: config, journal: j, world: world, inbox: newInbox(config.MaxPending), known: map[string]bool{}, closed: make(chan struct{})}
	s.lookups = newLookups(s, 8)
	return s
}

// request is an input with someone who waits for the answer.
type request struct {
	input engine.Input
	specs journal.Specs
	reply chan engine.Reply
}

// Do submits a request and waits until it is committed or refused. When ctx ends first the request may still be applied; repeating
// it is safe, since every request is idempotent by name.
func (s *Shell) Do(ctx context.Context, input engine.Input, specs journal.Specs) (engine.Reply, error) {
	r := &request{input: input, specs: specs, reply: make(chan engine.Reply, 1)}
	if !s.inbox.ask(r) {
		return engine.Reply{}, fault.New(fault.KindExhausted, "the data plane has more requests waiting than it takes; try again in a moment")
	}
	select {
	case reply := <-r.reply:
		return reply, reply.Err
	case <-ctx.Done():
		return engine.Reply{}, ctx.Err()
	case <-s.closed:
		return engine.Reply{}, fault.New(fault.KindUnavailable, "the data plane is shutting down; try again")
	}
}

// Tell gives the loop something that happened. It never blocks and never refuses: there is at most one outstanding effect
// for each action in memory.
func (s *Shell) Tell(input engine.Input) { s.inbox.tell(input) }

// Inspect runs fn on the state, between two steps.
func (s *Shell) Inspect(ctx context.Context, fn func(*engine.State, Stats)) error {
	done := make(chan struct{})
	s.inbox.tell(inspection{fn: func(state *engine.State) { fn(state, s.Stats); close(done) }})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return fault.New(fault.KindUnavailable, "the data plane is shutting down; try again")
	}
}

// Drain refuses new runs from now on, also after a restart, or accepts them again. When it returns no run can be created that it
// refuses.
func (s *Shell) Drain(ctx context.Context, on bool) error {
	if err := s.journal.SetDraining(ctx, on); err != nil {
		return err
	}
	return s.Inspect(ctx, func(state *engine.State, _ Stats) { state.Drain(on) })
}

type inspection struct {
	engine.Tick
	fn func(*engine.State)
}

// Restore reads the journal and derives the effects that were under way. It is called once, before Run.
func (s *Shell) Restore(ctx context.Context) error {
	open, nextRunID, err := s.journal.Load(ctx, s.config.Task)
	if err != nil {
		return err
	}
	draining, err := s.journal.Draining(ctx)
	if err != nil {
		return err
	}
	s.state = engine.New(s.config.Engine, nextRunID)
	s.state.Drain(draining)
	s.lastRun = nextRunID - 1
	s.finished = newFinished(nextRunID)
	now := engine.At(s.config.Now())
	for _, run := range open {
		s.state.Restore(now, run.Run, run.Actions)
	}
	s.state.Step(now, engine.Tick{})
	return nil
}

// Run is the loop. It returns when ctx is done.
func (s *Shell) Run(ctx context.Context) {
	defer close(s.closed)
	var workers sync.WaitGroup
	defer workers.Wait()
	s.lookups.run(ctx, &workers)
	s.settle(ctx, nil) // what Restore asked for
	busy := false
	for {
		batch := s.inbox.take(ctx, s.wait())
		if ctx.Err() != nil {
			return
		}
		if busy { // those who were answered together ask again together
			batch = s.inbox.gather(batch, gatherFor)
		}
		busy = len(batch) > 1
		s.turn(ctx, batch)
	}
}

// gatherFor bounds what a busy loop waits for others to ask, too. It seldom waits as long: only while somebody does.
const gatherFor = 2 * time.Millisecond

// wait is how long the loop may sleep; negative when nothing waits for time.
func (s *Shell) wait() time.Duration {
	next := s.state.NextTimer()
	if next == 0 {
		return -1
	}
	return max(0, next.Clock().Sub(s.config.Now()))
}

// turn is one round: look up what the journal knows, step, commit, answer, carry out.
func (s *Shell) turn(ctx context.Context, batch []any) {
	if err := s.lookUp(ctx, batch); err != nil {
		if ctx.Err() == nil {
			s.config.Log.Error("the journal could not be read", "error", err)
		}
		s.refuse(batch, fault.Wrap(err, fault.KindUnavailable, "the data plane could not read its journal; try again"))
		batch = told(batch) // nobody tells that again
	}
	now := engine.At(s.config.Now())
	specs := journal.Specs{}
	stepped := false
	for _, item := range batch {
		s.Stats.Inputs++
		switch in := item.(type) {
		case inspection:
			in.fn(s.state)
		case *request:
			for digest, spec := range in.specs {
				if !s.known[digest] {
					specs[digest] = spec
				}
			}
			s.state.Step(now, withTicket(in.input, in))
			stepped = true
		case answered:
			if in.life == s.lookups.life {
				s.state.Step(now, in.LookupDone)
				stepped = true
			}
		case engine.Input:
			s.state.Step(now, in)
			stepped = true
		}
	}
	if !stepped {
		s.state.Step(now, engine.Tick{})
	}
	s.settle(ctx, specs)
}

// maxKnownSpecs bounds the memory of which specifications are stored; forgetting costs one statement that changes nothing.
const maxKnownSpecs = 10_000

// settle commits what the steps asked for, then answers and carries out the effects.
func (s *Shell) settle(ctx context.Context, specs journal.Specs) {
	out := s.state.Take()
	if err := s.commit(ctx, &out, specs); err != nil {
		s.commitFailed(ctx, &out, err)
		return
	}
	for _, reply := range out.Replies {
		reply.Ticket.(*request).reply <- reply
	}
	for _, effect := range out.Effects {
		s.carryOut(effect)
	}
}

func (s *Shell) commit(ctx context.Context, out *engine.Output, specs journal.Specs) error {
	if out.Empty() {
		return nil
	}
	began := time.Now()
	if err := s.journal.Commit(context.WithoutCancel(ctx), out, specs); err != nil {
		s.Stats.FailedCommits++
		return err
	}
	s.Stats.Batches++
	s.Stats.Rows += uint64(len(out.Actions))
	s.Stats.CommitTime += time.Since(began)
	if len(s.known) > maxKnownSpecs {
		clear(s.known)
	}
	for digest := range specs {
		s.known[digest] = true
	}
	s.remember(out)
	return nil
}

// remember notes the names that from now on only the journal knows.
func (s *Shell) remember(out *engine.Output) {
	for _, created := range out.NewRuns {
		s.lastRun = max(s.lastRun, created.Run.ID)
	}
	for _, a := range out.Actions {
		if a.Phase.Terminal() {
			s.finished.add(a.Run.ID, a.Name)
		}
	}
	if s.finished.full() {
		s.finished = newFinished(s.lastRun + 1)
	}
}

func (s *Shell) carryOut(effect engine.Effect) {
	switch e := effect.(type) {
	case engine.StartAttempt:
		s.world.Start(e)
	case engine.StopAttempt:
		s.world.Stop(e)
	case engine.ForgetAttempt:
		s.world.Forget(e)
	case engine.RunBuiltin:
		s.world.Builtin(e)
	case engine.Lookup:
		s.lookups.add(e)
	case engine.PostWebhook:
		s.world.Webhook(e)
	}
}

// commitFailed undoes the batch: the journal is the truth, so memory is made anew from it. Replies are errors; what was told is told
// again by the World, because nothing of it was forgotten.
func (s *Shell) commitFailed(ctx context.Context, out *engine.Output, cause error) {
	s.config.Log.Error("the journal could not be written; nothing of this batch has happened", "error", cause)
	err := fault.Wrap(cause, fault.KindUnavailable, "the data plane could not write its journal; try again")
	for _, reply := range out.Replies {
		reply.Ticket.(*request).reply <- engine.Reply{Ticket: reply.Ticket, Err: err}
	}
	// A breath before the next try, and room for the disk: while it lasts requests are refused rather than queued.
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		if !s.pause(ctx, delay, err) {
			return
		}
		failure := s.anew(ctx)
		if failure == nil {
			return
		}
		s.config.Log.Error("the state could not be made anew from the journal", "error", failure)
	}
}

// anew makes the state from the journal, commits what that changes and carries out the effects: in this order, so that what is
// started stands in a row as started.
func (s *Shell) anew(ctx context.Context) error {
	clear(s.known)
	s.lookups.forget()
	if err := s.Restore(ctx); err != nil {
		return err
	}
	out := s.state.Take()
	if err := s.commit(ctx, &out, nil); err != nil {
		return err
	}
	for _, effect := range out.Effects {
		s.carryOut(effect)
	}
	return nil
}

// pause waits, refusing requests meanwhile; false when ctx is done.
func (s *Shell) pause(ctx context.Context, delay time.Duration, refusal error) bool {
	until := time.Now().Add(delay)
	for {
		left := time.Until(until)
		if left <= 0 {
			return true
		}
		batch := s.inbox.take(ctx, left)
		if ctx.Err() != nil {
			return false
		}
		s.refuse(batch, refusal)
		for _, item := range batch {
			if in, ok := item.(inspection); ok {
				in.fn(s.state)
			}
		}
	}
}

func (s *Shell) refuse(batch []any, err error) {
	for _, item := range batch {
		if r, ok := item.(*request); ok {
			r.reply <- engine.Reply{Err: err}
		}
	}
}

// told is the batch without its requests.
func told(batch []any) (rest []any) {
	for _, item := range batch {
		if _, ok := item.(*request); !ok {
			rest = append(rest, item)
		}
	}
	return rest
}

func withTicket(input engine.Input, r *request) engine.Input {
	switch in := input.(type) {
	case engine.CreateRun:
		in.Ticket = r
		return in
	case engine.Enqueue:
		in.Ticket = r
		return in
	case engine.Signal:
		in.Ticket = r
		return in
	case engine.AbortRun:
		in.Ticket = r
		return in
	case engine.AbortAction:
		in.Ticket = r
		return in
	}
	panic(errors.New("shell: an input that nobody can wait for"))
}
