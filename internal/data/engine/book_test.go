package engine

import (
	"cmp"
	"fmt"
	"slices"

	"biplane.dev/biplane/internal/names"
)

// book is the journal of the tests: it keeps copies of rows, as a database would, and complains about every commit that no sound
// engine asks for. What it gives back after a crash is what the real journal gives back, and no more.
type book struct {
	runs     map[int64]*bookRun
	ids      map[names.Run]int64
	attempts map[string]PastAttempt
	cache    map[string]CacheEntry
	seq      int64
	problems []string
}

type bookRun struct {
	run  Run
	open bool
	rows map[string]*bookRow
}

type bookRow struct {
	Action
	seq int64
}

func newBook() *book {
	return &book{runs: map[int64]*bookRun{}, ids: map[names.Run]int64{}, attempts: map[string]PastAttempt{}, cache: map[string]CacheEntry{}}
}

func (b *book) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

func (b *book) row(id names.Action) *bookRow {
	run := b.runs[b.ids[id.Run]]
	if run == nil {
		return nil
	}
	return run.rows[id.Action]
}

func (b *book) phaseOf(id names.Action) Phase {
	if row := b.row(id); row != nil {
		return row.Phase
	}
	return 0
}

func attemptKey(run int64, action string, n uint32) string {
	return fmt.Sprintf("%d/%s#%d", run, action, n)
}

// rank orders the phases of one attempt as a watcher must see them.
func rank(p Phase) int {
	switch {
	case p.Terminal():
		return 5
	case p == PhasePaused:
		return 4
	}
	return int(p)
}

func (b *book) commit(out *Output) {
	for _, n := range out.NewRuns {
		if b.ids[n.Run.Name] != 0 {
			b.problem("run %s inserted twice", n.Run.Name)
		}
		b.ids[n.Run.Name] = n.Run.ID
		b.runs[n.Run.ID] = &bookRun{run: bareRun(n.Run), open: true, rows: map[string]*bookRow{}}
	}
	for _, r := range out.Runs {
		b.runs[r.ID].run = bareRun(r)
	}
	for _, p := range out.Attempts {
		key := attemptKey(p.RunID, p.Action, p.Attempt)
		if _, twice := b.attempts[key]; twice {
			b.problem("attempt %s has two outcomes", key)
		}
		if !p.Phase.Terminal() || p.Phase.Good() || p.Ended < p.Queued || p.Started > p.Ended {
			b.problem("attempt %s: %+v", key, p)
		}
		b.attempts[key] = p
	}
	for _, a := range out.Actions {
		b.write(a)
	}
	for _, e := range out.Cached {
		b.cache[e.Key] = e
	}
	for _, touched := range out.Touched {
		row := b.runs[touched.RunID].rows[touched.Action]
		if row == nil || !row.Phase.Terminal() {
			b.problem("touched %s, which is not finished", touched.Action)
			continue
		}
		b.seq++
		row.seq = b.seq
	}
	for _, a := range out.Actions {
		if a.Phase.Terminal() && a.Run.Finished() {
			b.runs[a.Run.ID].open = false
		}
	}
	for _, r := range b.runs {
		open := false
		for _, row := range r.rows {
			open = open || !row.Phase.Terminal()
		}
		if open != r.open {
			b.problem("run %s: open is %v, unfinished actions: %v", r.run.Name.Name, r.open, open)
		}
	}
}

func (b *book) write(a *Action) {
	rows := b.runs[a.Run.ID].rows
	old, fresh := rows[a.Name], a.Fresh()
	if fresh == (old != nil) {
		b.problem("%s: fresh is %v, a row exists: %v", a.Name, fresh, old != nil)
	}
	if old != nil {
		switch {
		case old.Phase.Terminal():
			b.problem("%s changed from %s after its end", a.Name, old.Phase)
		case a.Attempt < old.Attempt:
			b.problem("%s went back from attempt %d to %d", a.Name, old.Attempt, a.Attempt)
		case a.Attempt == old.Attempt && rank(a.Phase) < rank(old.Phase):
			b.problem("%s#%d went back from %s to %s", a.Name, a.Attempt, old.Phase, a.Phase)
		}
	}
	for n := uint32(1); n < a.Attempt; n++ {
		if _, kept := b.attempts[attemptKey(a.Run.ID, a.Name, n)]; !kept {
			b.problem("%s is at attempt %d and attempt %d has no row", a.Name, a.Attempt, n)
		}
	}
	if _, past := b.attempts[attemptKey(a.Run.ID, a.Name, a.Attempt)]; past {
		b.problem("%s#%d has two outcomes", a.Name, a.Attempt)
	}
	if a.Phase.Terminal() {
		if a.Wait != WaitNone || a.Stop != StopNone || a.Ended == 0 || a.RetryAt != 0 {
			b.problem("%s ended with wait %s, stop %d, end %d, retry %d", a.Name, a.Wait, a.Stop, a.Ended, a.RetryAt)
		}
		if (a.Error == nil) != a.Phase.Good() {
			b.problem("%s ended %s with error %+v", a.Name, a.Phase, a.Error)
		}
	} else if a.Ended != 0 || a.Error != nil {
		b.problem("%s is %s and has end %d, error %+v", a.Name, a.Phase, a.Ended, a.Error)
	}
	b.seq++
	row := &bookRow{Action: *bare(a), seq: b.seq}
	row.From, row.Usage = a.From, a.Usage
	rows[a.Name] = row
}

// load is what a restart finds: copies of the unfinished rows of the open runs.
func (b *book) load() (open []*Run, actions [][]*Action, nextRunID int64) {
	nextRunID = 1
	var ids []int64
	for id, r := range b.runs {
		nextRunID = max(nextRunID, id+1)
		if r.open {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		run := bareRun(&b.runs[id].run)
		var found []*Action
		for _, row := range b.runs[id].rows {
			if !row.Phase.Terminal() {
				found = append(found, bare(&row.Action))
			}
		}
		slices.SortFunc(found, func(x, y *Action) int {
			return cmp.Or(cmp.Compare(x.Created, y.Created), cmp.Compare(x.Name, y.Name))
		})
		open, actions = append(open, &run), append(actions, found)
	}
	return open, actions, nextRunID
}

func bareRun(r *Run) Run {
	return Run{
		ID: r.ID, Name: r.Name, Digest: r.Digest, Created: r.Created, MaxConcurrency: r.MaxConcurrency, OverwriteCache: r.OverwriteCache,
		GlobalCache: r.GlobalCache, RecoverFrom: r.RecoverFrom, ForceRerun: r.ForceRerun, Aborting: r.Aborting, AbortReason: r.AbortReason,
		AbortedBy: r.AbortedBy, AbortCode: r.AbortCode,
	}
}

// bare copies what a row holds of an unfinished action.
func bare(a *Action) *Action {
	return &Action{
		Name: a.Name, ParentName: a.ParentName, Kind: a.Kind, Group: a.Group, Task: a.Task, input: a.input, OutputBase: a.OutputBase,
		CacheKey: a.CacheKey, Queue: a.Queue, Sleep: a.Sleep, Timeout: a.Timeout, Detail: a.Detail, Value: a.Value, Phase: a.Phase, Wait: a.Wait,
		Attempt: a.Attempt, CacheStatus: a.CacheStatus, Created: a.Created, Queued: a.Queued, Initialized: a.Initialized, Started: a.Started,
		Ended: a.Ended, RetryAt: a.RetryAt, UserFailures: a.UserFailures, SystemFailures: a.SystemFailures, OutputURI: a.OutputURI,
		Error: a.Error, AbortReason: a.AbortReason, AbortedBy: a.AbortedBy, Stop: a.Stop,
	}
}
