package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"biplane.dev/biplane/internal/data/engine"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/names"
	"biplane.dev/biplane/internal/store"
)

func open(t *testing.T) *Journal {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "journal.db"), Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(db)
}

var project = names.Project{Org: names.Org, Project: "p", Domain: "d"}

func runName(name string) names.Run { return names.Run{Project: project, Name: name} }

var leaf = &engine.Task{Digest: "digest", Name: "m.leaf"}

func taskOf(digest string, _ []byte) (*engine.Task, error) {
	return &engine.Task{Digest: digest, Name: "m.leaf"}, nil
}

// create makes a run in a state of its own and commits nothing yet.
func create(id int64, run *engine.Run) (*engine.State, engine.Output) {
	state := engine.New(engine.Config{CPUMillis: 8000, Memory: 8, DefaultCPUMillis: 1000, DefaultMemory: 1}, id)
	state.Step(1_000_000, engine.CreateRun{
		Run: run, Row: &RunRow{RunSpec: []byte("spec"), Labels: map[string]string{"k": "v"}, CreatedBy: "ann"},
		Root: engine.ActionSpec{Name: names.Root, Kind: engine.KindTask, Task: leaf, OutputBase: "base"},
	})
	return state, state.Take()
}

func commit(t *testing.T, j *Journal, out engine.Output) {
	t.Helper()
	if err := j.Commit(t.Context(), &out, Specs{"digest": []byte("spec")}); err != nil {
		t.Fatal(err)
	}
}

// fill sets every exported field to something that is not its zero, different for each and each time.
func fill(v reflect.Value, salt int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch n := salt + i + 1; f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name + string(rune('a'+salt)))
		case reflect.Int64:
			f.SetInt(int64(n) * 1000) // durations are kept in microseconds
		case reflect.Uint8, reflect.Uint32:
			f.SetUint(uint64(n))
		case reflect.Slice:
			f.SetBytes([]byte{byte(n)})
		}
	}
}

// TestRowsHoldActions: what a restart makes of a row is what was written, in every exported field, so that a field that is added and
// not written is noticed.
func TestRowsHoldActions(t *testing.T) {
	t.Parallel()
	j := open(t)
	_, out := create(7, &engine.Run{Name: runName("r1"), Digest: "x"})
	a := out.Actions[0]
	for salt := range 2 { // an insert, then an update
		fixed := *a
		fill(reflect.ValueOf(a).Elem(), salt)
		a.Name, a.ParentName, a.Kind, a.Task, a.Run = fixed.Name, fixed.ParentName, fixed.Kind, fixed.Task, fixed.Run
		a.Phase, a.CacheStatus, a.Stop, a.Wait = engine.PhaseRunning, engine.CacheMiss, engine.StopDeadline, engine.WaitStop
		a.Error = &engine.Error{Code: "E", Message: "broken", Kind: engine.ErrorUser, Recoverable: true}
		if salt == 1 { // what an action is made with never changes
			a.Group, a.OutputBase, a.CacheKey, a.Queue, a.Sleep, a.Timeout, a.Detail, a.Created = fixed.Group, fixed.OutputBase, fixed.CacheKey, fixed.Queue,
				fixed.Sleep, fixed.Timeout, fixed.Detail, fixed.Created
			out = engine.Output{Actions: []*engine.Action{a}}
		}
		inputs := "base/elsewhere/inputs.pb"
		if salt == 0 {
			a.SetInputURI(inputs)
		}
		commit(t, j, out)
		loaded, next, err := j.Load(t.Context(), taskOf)
		if err != nil || len(loaded) != 1 || len(loaded[0].Actions) != 1 || next != 8 {
			t.Fatalf("%+v, next %d, %v", loaded, next, err)
		}
		if uri := loaded[0].Actions[0].InputURI(); uri != inputs {
			t.Errorf("write %d: the inputs lay at %s and are at %s", salt, inputs, uri)
		}
		got, want := reflect.ValueOf(loaded[0].Actions[0]).Elem(), reflect.ValueOf(a).Elem()
		for i := range got.NumField() {
			switch field := got.Type().Field(i); {
			case !field.IsExported(), field.Name == "Run", field.Name == "From", field.Name == "Usage": // the last two only at the end
			case !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()):
				t.Errorf("write %d: %s was %v and is %v", salt, field.Name, want.Field(i), got.Field(i))
			}
		}
	}
}

// TestFactsHoldRuns is the same for runs.
func TestFactsHoldRuns(t *testing.T) {
	t.Parallel()
	j := open(t)
	from := runName("r0")
	run := &engine.Run{
		Name: runName("r1"), Digest: "x", MaxConcurrency: 3, OverwriteCache: true, GlobalCache: true, RecoverFrom: &from, ForceRerun: map[string]bool{"c": true},
	}
	state, out := create(1, run)
	commit(t, j, out)
	state.Step(2_000_000, engine.AbortRun{Run: run.Name, Reason: "enough", By: "ann"})
	commit(t, j, state.Take())
	loaded, _, err := j.Load(t.Context(), taskOf)
	if err != nil || len(loaded) != 1 {
		t.Fatalf("%+v, %v", loaded, err)
	}
	got, want := reflect.ValueOf(loaded[0].Run).Elem(), reflect.ValueOf(run).Elem()
	for i := range got.NumField() {
		if field := got.Type().Field(i); field.IsExported() && !reflect.DeepEqual(got.Field(i).Interface(), want.Field(i).Interface()) {
			t.Errorf("%s was %v and is %v", field.Name, want.Field(i), got.Field(i))
		}
	}
	info, err := j.Run(t.Context(), run.Name)
	if err != nil || !info.Aborting || info.Labels["k"] != "v" || info.CreatedBy != "ann" || string(info.RunSpec) != "spec" {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestAttempts: an attempt that was followed by another keeps its own times and error (R14); a run that has ended is not loaded again.
func TestAttempts(t *testing.T) {
	t.Parallel()
	j := open(t)
	run := &engine.Run{Name: runName("r1"), Digest: "x"}
	state, out := create(1, run)
	commit(t, j, out)
	id := names.Attempt{Action: names.Action{Run: run.Name, Action: names.Root}, Number: 1}
	state.Step(3_000_000, engine.AttemptStarted{ID: id, At: 2_000_000})
	commit(t, j, state.Take())
	past := engine.PastAttempt{
		RunID: 1, Action: names.Root, Attempt: 1, Phase: engine.PhaseFailed, Queued: 1, Initialized: 2, Started: 3, Ended: 4,
		Error: &engine.Error{Code: "E1", Message: "first", Kind: engine.ErrorUser, Recoverable: true}, Usage: engine.Usage{PeakMemory: 9},
	}
	commit(t, j, engine.Output{Attempts: []engine.PastAttempt{past}})
	got, err := j.PastAttempts(t.Context(), 1, names.Root)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], past) {
		t.Errorf("kept %+v, %v", got, err)
	}
	if err := j.Commit(t.Context(), &engine.Output{Attempts: []engine.PastAttempt{past}}, nil); err == nil {
		t.Error("an attempt got a second outcome")
	}
	if ended, err := j.Ended(t.Context(), 1); err != nil || ended {
		t.Errorf("ended %v, %v", ended, err)
	}
	state.Step(5_000_000, engine.AttemptEnded{ID: id, Outcome: engine.Outcome{OK: true, OutputURI: "out"}})
	commit(t, j, state.Take())
	if ended, err := j.Ended(t.Context(), 1); err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
	loaded, next, err := j.Load(t.Context(), taskOf)
	if err != nil || len(loaded) != 0 || next != 2 {
		t.Errorf("a finished run is loaded: %+v, next %d, %v", loaded, next, err)
	}
	if info, err := j.Run(t.Context(), run.Name); err != nil || info.Phase != engine.PhaseSucceeded || info.Ended != 5_000_000 {
		t.Errorf("%+v, %v", info, err)
	}
}

// phasesOf collects what PhasesOf tells.
func phasesOf(j *Journal, tx store.Tx, run int64, actions ...string) (map[string]engine.Phase, error) {
	phases := map[string]engine.Phase{}
	return phases, j.PhasesOf(tx, run, actions, func(action string, phase engine.Phase) { phases[action] = phase })
}

// TestManyKnown: however many names are asked for together, each that has a row is told, and no other.
func TestManyKnown(t *testing.T) {
	t.Parallel()
	j := open(t)
	state, out := create(1, &engine.Run{Name: runName("r1"), Digest: "x"})
	commit(t, j, out)
	name := func(i int) string { return fmt.Sprint("c", i) }
	const children = 100
	for i := range children {
		spec := engine.ActionSpec{Name: name(i), Parent: names.Root, Kind: engine.KindTask, Task: leaf, OutputBase: "base"}
		state.Step(2_000_000, engine.Enqueue{Run: runName("r1"), Spec: spec})
	}
	commit(t, j, state.Take())
	for _, n := range []int{0, 1, 2, 3, 31, 32, 33, 64, 65, 100} {
		var asked []string
		for i := range n {
			asked = append(asked, name(children-1-i), fmt.Sprint("stranger", i))
		}
		err := j.Read(t.Context(), func(tx store.Tx) error {
			phases, err := phasesOf(j, tx, 1, asked...)
			if len(phases) != n {
				t.Errorf("%d of %d names are known", len(phases), n)
			}
			for i := range n {
				if phases[name(children-1-i)] == 0 {
					t.Errorf("of %d names, %s is not known", n, name(children-1-i))
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestKnown: names that are not in memory are looked up within their own project and run (R3).
func TestKnown(t *testing.T) {
	t.Parallel()
	j := open(t)
	_, out := create(1, &engine.Run{Name: runName("r1"), Digest: "x"})
	commit(t, j, out)
	elsewhere := runName("r1")
	elsewhere.Domain = "other"
	err := j.Read(t.Context(), func(tx store.Tx) error {
		for name, want := range map[names.Run]string{runName("r1"): "x", runName("r2"): "", elsewhere: ""} {
			if digest, err := j.KnownRun(tx, name); err != nil || digest != want {
				t.Errorf("%s: %q, %v", name, digest, err)
			}
		}
		for _, c := range []struct {
			run    int64
			action string
			want   engine.Phase
		}{{1, names.Root, engine.PhaseInitializing}, {1, "nobody", 0}, {2, names.Root, 0}} {
			if phases, err := phasesOf(j, tx, c.run, c.action); err != nil || phases[c.action] != c.want {
				t.Errorf("%d/%s: %v, %v", c.run, c.action, phases, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if spec, err := j.Spec(t.Context(), "digest"); err != nil || string(spec) != "spec" {
		t.Errorf("%q, %v", spec, err)
	}
	if _, err := j.Run(t.Context(), elsewhere); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("a run of another project: %v", err)
	}
	if _, err := j.Action(t.Context(), 1, "nobody"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("an action that is not there: %v", err)
	}
	for _, text := range []string{"", "p/d", "p/d/r/x", "p/../r"} {
		if run, err := ParseRun(text); err == nil {
			t.Errorf("%q is read as %s", text, run)
		}
	}
}

// TestCached: an entry is found by its project and by everybody who looks everywhere, not by another project, and not when it is too old.
func TestCached(t *testing.T) {
	t.Parallel()
	j := open(t)
	entry := engine.CacheEntry{Key: ScopedKey(project, false, "k"), Run: runName("r1"), Action: "c", Attempt: 2, OutputURI: "old", At: 100}
	commit(t, j, engine.Output{Cached: []engine.CacheEntry{entry}})
	entry.OutputURI, entry.At = "new", 200
	commit(t, j, engine.Output{Cached: []engine.CacheEntry{entry}})
	other := project
	other.Project = "q"
	for _, c := range []struct {
		key    string
		oldest engine.Time
		want   bool
	}{
		{ScopedKey(project, false, "k"), 0, true}, {ScopedKey(project, false, "k"), 200, true}, {ScopedKey(project, false, "k"), 201, false},
		{ScopedKey(other, true, "k"), 0, true}, {ScopedKey(other, false, "k"), 0, false}, {ScopedKey(project, false, "l"), 0, false},
	} {
		hit, err := j.Cached(t.Context(), c.key, c.oldest)
		if err != nil || (hit != nil) != c.want {
			t.Errorf("%+v: %+v, %v", c, hit, err)
		}
		if hit != nil && !reflect.DeepEqual(*hit, engine.Pointer{Run: "p/d/r1", Action: "c", Attempt: 2, OutputURI: "new"}) {
			t.Errorf("%+v: %+v", c, *hit)
		}
	}
}

// TestRecoverable: only what succeeded is taken over.
func TestRecoverable(t *testing.T) {
	t.Parallel()
	j := open(t)
	_, out := create(1, &engine.Run{Name: runName("r1"), Digest: "x"})
	a := out.Actions[0]
	commit(t, j, out)
	for phase, want := range map[engine.Phase]bool{engine.PhaseRunning: false, engine.PhaseFailed: false, engine.PhaseAborted: false, engine.PhaseSucceeded: true, engine.PhaseRecovered: true} {
		a.Phase, a.OutputURI, a.Value = phase, "out", []byte("v")
		commit(t, j, engine.Output{Actions: []*engine.Action{a}})
		found, err := j.Recoverable(t.Context(), runName("r1"), names.Root)
		if err != nil || (found != nil) != want || found != nil && (found.OutputURI != "out" || string(found.Value) != "v" || found.Run != "p/d/r1") {
			t.Errorf("%s: %+v, %v", phase, found, err)
		}
	}
	for _, c := range [][2]string{{"r1", "nobody"}, {"r2", names.Root}} {
		if found, err := j.Recoverable(t.Context(), runName(c[0]), c[1]); found != nil || err != nil {
			t.Errorf("%v: %+v, %v", c, found, err)
		}
	}
}

// TestWatch: a watcher is woken once for what it watches, however much changes, and not for what it does not; a commit that fails wakes nobody.
func TestWatch(t *testing.T) {
	t.Parallel()
	j := open(t)
	mine, leaveMine := j.Watch(Topic{Run: 1, Action: names.Root})
	other, leaveOther := j.Watch(Topic{Run: 2, Action: names.Root})
	all, leaveAll := j.Watch(Topic{})
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	_, out := create(1, &engine.Run{Name: runName("r1"), Digest: "x"})
	a := out.Actions[0]
	failing, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Commit(failing, &out, nil); err == nil || woken(mine) || woken(all) {
		t.Errorf("a commit that fails with %v wakes somebody", err)
	}
	commit(t, j, out)
	for range 3 {
		commit(t, j, engine.Output{Actions: []*engine.Action{a}})
	}
	if !woken(mine) || woken(mine) || woken(other) || !woken(all) {
		t.Error("woken too seldom or too often")
	}
	seq := j.Seq()
	commit(t, j, engine.Output{Touched: []engine.Touched{{RunID: 1, Action: names.Root}}})
	if rows, err := j.ActionsAfter(t.Context(), 1, seq, 10); err != nil || len(rows) != 1 || rows[0].Seq <= seq {
		t.Errorf("what is touched is not told again: %+v, %v", rows, err)
	}
	leaveMine()
	leaveOther()
	leaveAll()
	if n := j.Watchers(); n != 0 || len(j.hub.watchers) != 0 {
		t.Errorf("%d watchers are left", n)
	}
}
