package ledger_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

const (
	running   = linkv1.Phase_PHASE_RUNNING
	succeeded = linkv1.Phase_PHASE_SUCCEEDED
)

var here = link.Plane{Org: "local", Name: "here"}

func open(t *testing.T) store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), ledger.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func apply(t *testing.T, db store.DB, plane link.Plane, timeline int64, fn func(*ledger.Batch) error) {
	t.Helper()
	if err := db.Write(t.Context(), func(tx store.WriteTx) error { return fn(ledger.NewBatch(tx, plane, timeline)) }); err != nil {
		t.Fatal(err)
	}
}

func runID(project, name string) *linkv1.RunID {
	return &linkv1.RunID{Org: "local", Project: project, Domain: "development", Name: name}
}

func run(project, name string, phase linkv1.Phase, created int64) *linkv1.RunState {
	return &linkv1.RunState{Id: runID(project, name), Phase: phase, CreatedUs: created}
}

func action(of, name string, phase linkv1.Phase, created int64) *linkv1.ActionState {
	return &linkv1.ActionState{Id: &linkv1.ActionID{Run: runID("p", of), Name: name}, Phase: phase, CreatedUs: created}
}

func TestAnActionMayComeBeforeItsRun(t *testing.T) {
	t.Parallel()
	db := open(t)
	l := ledger.New(db)
	apply(t, db, here, 0, func(b *ledger.Batch) error { return b.Action(1, action("r", "a0", running, 1)) })
	if _, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: "r"}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("a run of which nothing is known but an action is told of: %v", err)
	}
	apply(t, db, here, 0, func(b *ledger.Batch) error { return b.Run(2, run("p", "r", running, 1)) })
	r, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	actions, _, err := l.Actions(t.Context(), r.ID, 0, "")
	if err != nil || len(actions) != 1 || actions[0].Name != "a0" || actions[0].Phase != running {
		t.Errorf("actions %v, err %v", actions, err)
	}
}

func TestAnOlderStateNeverReplacesANewer(t *testing.T) {
	t.Parallel()
	db := open(t)
	l := ledger.New(db)
	expect := func(what string, want linkv1.Phase) {
		t.Helper()
		r, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: "r"})
		if err != nil || r.Phase != want {
			t.Errorf("%s: run is %v (err %v), want %v", what, r.Phase, err, want)
		}
		actions, _, err := l.Actions(t.Context(), r.ID, 0, "")
		if err != nil || len(actions) != 1 || actions[0].Phase != want {
			t.Errorf("%s: actions are %v (err %v), want %v", what, actions, err, want)
		}
	}
	put := func(timeline, seq int64, phase linkv1.Phase) {
		t.Helper()
		apply(t, db, here, timeline, func(b *ledger.Batch) error {
			if err := b.Action(seq, action("r", "a0", phase, 1)); err != nil {
				return err
			}
			return b.Run(seq, run("p", "r", phase, 1))
		})
	}
	put(1, 10, succeeded)
	put(1, 9, running)
	expect("a lower number", succeeded)
	put(0, 50, running)
	expect("an earlier timeline", succeeded)
	put(2, 3, running)
	expect("a later timeline", running)
}

func TestPagesStayStableWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	db := open(t)
	l := ledger.New(db)
	seq := int64(0)
	add := func(name string, created int64) {
		apply(t, db, here, 0, func(b *ledger.Batch) error { seq++; return b.Run(seq, run("p", name, succeeded, created)) })
	}
	var want []string
	for i := range 50 {
		name := fmt.Sprintf("r%02d", i)
		add(name, int64(i/3)) // several of the same time
		want = append([]string{name}, want...)
	}
	var got []string
	for token, page := "", 0; ; page++ {
		runs, next, err := l.Runs(t.Context(), ledger.Filter{Org: "local"}, 7, token)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			got = append(got, r.Name)
		}
		if next == "" {
			break
		}
		token = next
		add(fmt.Sprint("new", page), int64(1000+page)) // newer ones go before the first page
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v,\nwant %v", got, want)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	db := open(t)
	l := ledger.New(db)
	there := link.Plane{Org: "local", Name: "there"}
	apply(t, db, here, 0, func(b *ledger.Batch) error { return b.Run(1, run("p", "a", running, 1)) })
	apply(t, db, here, 0, func(b *ledger.Batch) error { return b.Run(2, run("q", "b", succeeded, 2)) })
	apply(t, db, there, 0, func(b *ledger.Batch) error { return b.Run(1, run("p", "a", succeeded, 3)) })
	for name, c := range map[string]struct {
		filter ledger.Filter
		want   int
	}{
		"all":               {ledger.Filter{Org: "local"}, 3},
		"project":           {ledger.Filter{Org: "local", Project: "p"}, 2},
		"domain":            {ledger.Filter{Org: "local", Domain: "production"}, 0},
		"phase":             {ledger.Filter{Org: "local", Phases: []linkv1.Phase{running, linkv1.Phase_PHASE_FAILED}}, 1},
		"project and phase": {ledger.Filter{Org: "local", Project: "p", Phases: []linkv1.Phase{succeeded}}, 1},
		"another org":       {ledger.Filter{Org: "else"}, 0},
	} {
		runs, _, err := l.Runs(t.Context(), c.filter, 0, "")
		if err != nil || len(runs) != c.want {
			t.Errorf("%s: %d runs (err %v), want %d", name, len(runs), err, c.want)
		}
	}
	if _, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: "a"}); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("a name that is on two planes: %v", err)
	}
	if r, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: "a", Plane: "there"}); err != nil || r.Phase != succeeded {
		t.Errorf("run %v, err %v", r, err)
	}
}

func TestBadPagesAreRefused(t *testing.T) {
	t.Parallel()
	l := ledger.New(open(t))
	for _, token := range []string{"x", "!!", "AAAA", "AAAAAAAAAAA"} {
		if _, _, err := l.Runs(t.Context(), ledger.Filter{Org: "local"}, 0, token); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("token %q: %v", token, err)
		}
	}
	for _, limit := range []int{-1, 1001} {
		if _, _, err := l.Runs(t.Context(), ledger.Filter{Org: "local"}, limit, ""); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestSweepRemovesWhatTheReplacedPlaneDoesNotKnow(t *testing.T) {
	t.Parallel()
	db := open(t)
	l := ledger.New(db)
	there := link.Plane{Org: "local", Name: "there"}
	apply(t, db, there, 0, func(b *ledger.Batch) error { return b.Run(1, run("p", "elsewhere", running, 1)) })
	apply(t, db, here, 0, func(b *ledger.Batch) error {
		for seq, event := range []any{
			run("p", "kept", running, 1), action("kept", "a0", running, 1), action("kept", "lost", succeeded, 2),
			run("p", "ended", succeeded, 1), action("ended", "a0", succeeded, 1),
			run("p", "gone", running, 1), action("gone", "a0", running, 1),
		} {
			var err error
			switch e := event.(type) {
			case *linkv1.RunState:
				err = b.Run(int64(seq+1), e)
			case *linkv1.ActionState:
				err = b.Action(int64(seq+1), e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	apply(t, db, here, 1, func(b *ledger.Batch) error {
		if err := b.Action(1, action("kept", "a0", running, 1)); err != nil {
			return err
		}
		if err := b.Run(2, run("p", "kept", running, 1)); err != nil {
			return err
		}
		return b.Sweep()
	})
	for name, actions := range map[string]int{"kept": 1, "ended": 1, "gone": -1, "elsewhere": 0} {
		r, err := l.Run(t.Context(), ledger.Filter{Org: "local", Name: name})
		if actions < 0 {
			if !fault.Is(err, fault.KindNotFound) {
				t.Errorf("%s is still there: %v %v", name, r, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found, _, err := l.Actions(t.Context(), r.ID, 0, "")
		if err != nil || len(found) != actions {
			t.Errorf("%s has actions %v (err %v), want %d", name, found, err, actions)
		}
	}
}
