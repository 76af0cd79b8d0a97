package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"biplane.dev/biplane/internal/names"
)

// driver is the shell of the tests: it steps the state, commits to a book and keeps account of what is under way outside. It has no
// goroutine and no clock, so that a script or a seed always gives the same course of things.
type driver struct {
	config Config
	state  *State
	book   *book
	now    Time

	draining bool

	attempts map[names.Attempt]*attempt // from their start to the effect that forgets them
	builtins map[names.Attempt]bool
	lookups  map[names.Action]Lookup
	webhooks int
	problems []string
}

// attempt is what an executor keeps.
type attempt struct {
	start   StartAttempt
	started Time
	stop    StopCause
	outcome *Outcome // once nothing of it is alive
}

// start of the clock of all tests.
const epoch = Time(1_700_000_000_000_000)

func newDriver(config Config) *driver {
	return &driver{
		config: config, state: New(config, 1), book: newBook(), now: epoch,
		attempts: map[names.Attempt]*attempt{}, builtins: map[names.Attempt]bool{}, lookups: map[names.Action]Lookup{},
	}
}

func (d *driver) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}

// step fills in what the journal knows, as the shell does, and steps.
func (d *driver) step(input Input) {
	switch in := input.(type) {
	case CreateRun:
		if id := d.book.ids[in.Run.Name]; id != 0 {
			in.Known = d.book.runs[id].run.Digest
		}
		input = in
	case Enqueue:
		if d.state.Find(names.Action{Run: in.Run, Action: in.Spec.Name}) == nil {
			in.Known.Action = d.book.phaseOf(names.Action{Run: in.Run, Action: in.Spec.Name})
		}
		if d.state.Find(names.Action{Run: in.Run, Action: in.Spec.Parent}) == nil {
			in.Known.Parent = d.book.phaseOf(names.Action{Run: in.Run, Action: in.Spec.Parent})
		}
		input = in
	case LookupDone:
		delete(d.lookups, in.ID)
	case AttemptStarted:
		if a := d.attempts[in.ID]; a != nil {
			a.started = in.At
		}
	case AttemptEnded:
		delete(d.builtins, in.ID)
		if a := d.attempts[in.ID]; a != nil {
			a.outcome = &in.Outcome
		}
	}
	before := len(d.state.out.Effects)
	lending := map[names.Action]bool{}
	for _, run := range d.state.runs {
		for _, a := range run.open {
			if a.openChildren > 0 {
				lending[a.ID()] = true
			}
		}
	}
	d.state.Step(d.now, input)
	for _, p := range check(d.state) {
		d.problem("after %T: %s", input, p)
	}
	for _, effect := range d.state.out.Effects[before:] {
		// A parent that is made again while its children have its slot needs none, and takes it back at once when they end: in the
		// same step, at times.
		if e, ok := effect.(StartAttempt); ok && !lending[e.ID.Action] {
			d.admitted(d.state.Find(e.ID.Action))
		}
	}
}

// admitted holds an admission of the last step against the limits. Between admissions more can be held than there is: a parent takes its slot
// back at once.
func (d *driver) admitted(a *Action) {
	s := d.state
	if !a.holds {
		return // it has lent its slot already
	}
	if s.holding > 1 && (s.usedCPU > d.config.CPUMillis || s.usedMem > d.config.Memory) {
		d.problem("%s was admitted beyond the machine: %+v", actionText(a.ID()), s.Load())
	}
	if d.config.MaxProcesses > 0 && s.alive > d.config.MaxProcesses && s.holding > 1 {
		d.problem("%s was admitted beyond the limit of processes: %+v", actionText(a.ID()), s.Load())
	}
	if a.Run.MaxConcurrency > 0 && a.Run.active > int(a.Run.MaxConcurrency) {
		d.problem("%s was admitted beyond the limit of its run: %d", actionText(a.ID()), a.Run.active)
	}
}

// settle commits what the steps asked for and carries out the effects.
func (d *driver) settle() Output {
	out := d.state.Take()
	d.book.commit(&out)
	for _, e := range out.Effects {
		d.carryOut(e)
	}
	d.problems = append(d.problems, d.book.problems...)
	d.book.problems = nil
	return out
}

func (d *driver) carryOut(effect Effect) {
	switch e := effect.(type) {
	case StartAttempt:
		row := d.book.row(e.ID.Action)
		if row == nil || row.Attempt != e.ID.Number || row.Phase != PhaseInitializing && row.Phase != PhaseRunning {
			d.problem("start of %s, whose row does not say so", attemptText(e.ID))
		}
		if known := d.attempts[e.ID]; known != nil && !e.Resumed {
			d.problem("%s is started twice", attemptText(e.ID))
		} else if known == nil {
			d.attempts[e.ID] = &attempt{start: e}
		}
	case StopAttempt:
		if a := d.attempts[e.ID]; a != nil {
			a.stop = e.Cause
		} else if row := d.book.row(e.ID.Action); !d.builtins[e.ID] && row.Attempt == e.ID.Number && !row.Phase.Terminal() {
			d.problem("stop of %s, which is not there", attemptText(e.ID))
		}
	case ForgetAttempt:
		row := d.book.row(e.ID.Action)
		if row != nil && row.Attempt == e.ID.Number && !row.Phase.Terminal() {
			d.problem("%s is forgotten before its outcome is recorded", attemptText(e.ID))
		}
		delete(d.attempts, e.ID)
	case RunBuiltin:
		d.builtins[e.ID] = true
	case Lookup:
		d.lookups[e.ID] = e
	case PostWebhook:
		d.webhooks++
	}
}

// crash loses the memory: of the engine, of lookups and built-ins under way. Attempts go on outside. What steps have done since the last
// settle has never happened.
func (d *driver) crash() {
	d.lookups, d.builtins = map[names.Action]Lookup{}, map[names.Attempt]bool{}
	d.state = d.restored()
}

// restored makes a state from the book, as the shell does.
func (d *driver) restored() *State {
	runs, actions, next := d.book.load()
	state := New(d.config, next)
	for i, run := range runs {
		state.Restore(d.now, run, actions[i])
	}
	state.Drain(d.draining)
	state.Step(d.now, Tick{})
	for _, p := range check(state) {
		d.problem("after a restart: %s", p)
	}
	return state
}

// rehearse makes a second state from the book and holds it against what is under way: a crash at this moment must derive
// the same effects and lose nothing.
func (d *driver) rehearse() {
	state := d.restored()
	started, stopped, builtins, asked := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	out := state.Take()
	for _, effect := range out.Effects {
		switch e := effect.(type) {
		case StartAttempt:
			if e.Resumed {
				started[attemptText(e.ID)] = true
			}
		case StopAttempt:
			stopped[attemptText(e.ID)] = true
		case RunBuiltin:
			builtins[attemptText(e.ID)] = true
		case Lookup:
			asked[actionText(e.ID)] = true
		}
	}
	wantStarted, wantStopped, wantBuiltins := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for id, a := range d.attempts {
		row := d.book.row(id.Action)
		if a.outcome != nil && (row.Phase.Terminal() || row.Attempt > id.Number) {
			continue
		}
		wantStarted[attemptText(id)] = true
		if a.stop != StopNone {
			wantStopped[attemptText(id)] = true
		}
	}
	for id := range d.builtins {
		wantBuiltins[attemptText(id)] = true
		if a := d.state.Find(id.Action); a != nil && a.Stop != StopNone {
			wantStopped[attemptText(id)] = true
		}
	}
	d.same("starts", wantStarted, started)
	d.same("stops", wantStopped, stopped)
	d.same("built-ins", wantBuiltins, builtins)
	for id := range d.lookups {
		if a := d.state.Find(id); a != nil && a.Wait == WaitLookup && !asked[actionText(id)] {
			d.problem("a restart does not ask again for %s", actionText(id))
		}
	}
	if state.Held() != d.state.Held() && len(out.Actions) == 0 {
		d.problem("a restart holds %d actions, not %d", state.Held(), d.state.Held())
	}
	// A parent whose last children the restart has just aborted has taken its slot back.
	if live, again := d.state.usedCPU, state.usedCPU; len(d.state.doomed) == 0 && again > live && again > d.config.CPUMillis {
		d.problem("a restart takes %d thousandths of a core, before it were %d", again, live)
	}
}

func (d *driver) same(what string, want, got map[string]bool) {
	if !maps.Equal(want, got) {
		d.problem("%s under way: %v; after a restart: %v", what, keys(want), keys(got))
	}
}

func keys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// answer looks an action up in the book, as the shell's lookups do; gone says that the outputs are no more.
func (d *driver) answer(e Lookup, gone bool) LookupDone {
	done := LookupDone{ID: e.ID}
	if e.RecoverFrom != nil && !gone {
		if row := d.book.row(names.Action{Run: *e.RecoverFrom, Action: e.ID.Action}); row != nil && row.Phase.Good() {
			done.Recovered = &Pointer{Run: e.RecoverFrom.Name, Action: row.Name, Attempt: row.Attempt, OutputURI: row.OutputURI, Value: row.Value}
			return done
		}
	}
	if entry, ok := d.book.cache[e.CacheKey]; ok && e.CacheKey != "" && !gone && (e.CacheMaxAge == 0 || entry.At.add(e.CacheMaxAge) >= d.now) {
		done.Hit = &Pointer{Run: entry.Run.Name, Action: entry.Action, Attempt: entry.Attempt, OutputURI: entry.OutputURI}
	}
	return done
}

func actionText(id names.Action) string { return id.Name + "/" + id.Action }
func attemptText(id names.Attempt) string {
	return fmt.Sprintf("%s#%d", actionText(id.Action), id.Number)
}

// since writes a time as the script counts it.
func since(at Time) string {
	if at == 0 {
		return "-"
	}
	return strconv.FormatFloat(float64(at-epoch)/1e6, 'f', -1, 64) + "s"
}
