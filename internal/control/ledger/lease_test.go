package ledger_test

import (
	"fmt"
	"testing"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

var there = link.Plane{Org: "local", Name: "there"}

// told is what a plane tells under a lease.
type told struct {
	plane   link.Plane
	epoch   int64
	created int64
	phase   linkv1.Phase
}

// tell applies a run, its root and an attempt of it, and returns the stops that are ordered.
func tell(t *testing.T, db store.DB, seq int64, w told) (stops []ledger.Stop) {
	t.Helper()
	apply(t, db, w.plane, 0, func(b *ledger.Batch) error {
		a, r := action("r", "a0", w.phase, w.created), run("p", "r", w.phase, w.created)
		a.Epoch, a.RunCreatedUs, r.Epoch = w.epoch, w.created, w.epoch
		try := &linkv1.AttemptState{Action: a.GetId(), Number: 1, Epoch: w.epoch, RunCreatedUs: w.created}
		if err := b.Attempt(seq, try); err != nil {
			return err
		}
		if err := b.Action(seq+1, a); err != nil {
			return err
		}
		if err := b.Run(seq+2, r); err != nil {
			return err
		}
		var err error
		stops, err = b.OrderStops(func(ledger.Stop) (bool, error) { return true, nil })
		return err
	})
	return stops
}

// rows says what the ledger has of the name: "plane epoch phase" of each run and its actions.
func rows(t *testing.T, db store.DB) string {
	t.Helper()
	text := ""
	err := db.Read(t.Context(), func(tx store.Tx) error {
		found, err := tx.Query(`SELECT r.plane, r.epoch, r.phase, (SELECT COUNT(*) FROM actions WHERE run = r.id), (SELECT COUNT(*) FROM attempts WHERE run = r.id)
			FROM runs r ORDER BY r.plane`)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var plane string
			var epoch int64
			var phase linkv1.Phase
			var actions, attempts int
			if err := found.Scan(&plane, &epoch, &phase, &actions, &attempts); err != nil {
				return err
			}
			text += fmt.Sprintf("%s %d %s %d %d; ", plane, epoch, phase, actions, attempts)
		}
		var orphans int
		if err := tx.QueryRow(`SELECT (SELECT COUNT(*) FROM actions WHERE run NOT IN (SELECT id FROM runs)) + (SELECT COUNT(*) FROM attempts WHERE run NOT IN (SELECT id FROM runs))`).Scan(&orphans); err != nil {
			return err
		}
		if orphans > 0 {
			text += fmt.Sprint(orphans, " rows of no run")
		}
		return found.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func expectRows(t *testing.T, db store.DB, want string) {
	t.Helper()
	if got := rows(t, db); got != want {
		t.Errorf("the ledger has %q, want %q", got, want)
	}
}

func expectStops(t *testing.T, got []ledger.Stop, want ...string) {
	t.Helper()
	var texts []string
	for _, s := range got {
		texts = append(texts, fmt.Sprintf("%s %d %s %s", s.Plane.Name, s.Epoch, s.Reason, s.Holder))
	}
	if fmt.Sprint(texts) != fmt.Sprint(want) {
		t.Errorf("stops %q, want %q", texts, want)
	}
}

func TestAMovedRunIsNotToldOfByItsOldPlane(t *testing.T) {
	t.Parallel()
	db := open(t)
	expectStops(t, tell(t, db, 1, told{here, 1, 7, running}))
	expectRows(t, db, "here 1 PHASE_RUNNING 1 1; ")
	apply(t, db, here, 0, func(b *ledger.Batch) error {
		epoch, err := b.Move(runID("p", "r"), "there", 100)
		if err == nil && epoch != 100 {
			err = fmt.Errorf("epoch %d", epoch)
		}
		return err
	})
	expectRows(t, db, "there 100 PHASE_RUNNING 1 1; ")
	// The old plane comes back with the end of the run: refused, and it is told, once.
	expectStops(t, tell(t, db, 100, told{here, 1, 7, succeeded}), "here 1 MOVED there")
	expectStops(t, tell(t, db, 200, told{here, 1, 7, succeeded}))
	expectRows(t, db, "there 100 PHASE_RUNNING 1 1; ")
	// The new one tells under low numbers of its own.
	expectStops(t, tell(t, db, 1, told{there, 100, 7, succeeded}))
	expectRows(t, db, "there 100 PHASE_SUCCEEDED 1 1; ")
	// What has ended does not move.
	apply(t, db, there, 0, func(b *ledger.Batch) error {
		epoch, err := b.Move(runID("p", "r"), "here", 200)
		if err == nil && epoch != 0 {
			err = fmt.Errorf("epoch %d", epoch)
		}
		return err
	})
}

func TestALedgerThatWasLostComesOutTheSame(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]told{
		"the new lease first": {{there, 2, 7, running}, {here, 1, 7, running}},
		"the old lease first": {{here, 1, 7, running}, {there, 2, 7, running}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t)
			var stops []ledger.Stop
			for _, w := range order {
				stops = append(stops, tell(t, db, 1, w)...)
			}
			expectStops(t, stops, "here 1 MOVED there")
			expectRows(t, db, "there 2 PHASE_RUNNING 1 1; ")
		})
	}
}

func TestTwoRunsOfOneName(t *testing.T) {
	t.Parallel()
	db := open(t)
	expectStops(t, tell(t, db, 1, told{here, 1, 20, running}))
	expectStops(t, tell(t, db, 1, told{there, 1, 10, running}), "here 1 NAME_CONFLICT there")
	expectStops(t, tell(t, db, 10, told{here, 1, 20, running}))
	expectRows(t, db, "here 1 PHASE_RUNNING 1 1; there 1 PHASE_RUNNING 1 1; ")
	// How the one that gives way ends is recorded: that is what happened to it.
	expectStops(t, tell(t, db, 20, told{here, 1, 20, linkv1.Phase_PHASE_ABORTED}))
	expectStops(t, tell(t, db, 20, told{there, 1, 10, succeeded}))
	expectRows(t, db, "here 1 PHASE_ABORTED 1 1; there 1 PHASE_SUCCEEDED 1 1; ")
}

func TestAPlaneThatForgotItsStopIsToldAgain(t *testing.T) {
	t.Parallel()
	db := open(t)
	tell(t, db, 1, told{there, 2, 7, running})
	expectStops(t, tell(t, db, 1, told{here, 1, 7, running}), "here 1 MOVED there")
	apply(t, db, here, 0, func(b *ledger.Batch) error { return nil })
	if err := db.Write(t.Context(), func(tx store.WriteTx) error { return ledger.ForgetStops(tx, here) }); err != nil {
		t.Fatal(err)
	}
	expectStops(t, tell(t, db, 2, told{here, 1, 7, running}), "here 1 MOVED there")
	// A stop that could not be ordered is still due.
	apply(t, db, link.Plane{Org: "local", Name: "else"}, 0, func(b *ledger.Batch) error {
		r := run("p", "r", running, 7)
		r.Epoch = 1
		if err := b.Run(1, r); err != nil {
			return err
		}
		ordered, err := b.OrderStops(func(ledger.Stop) (bool, error) { return false, nil })
		if len(ordered) != 0 {
			t.Errorf("ordered %v", ordered)
		}
		return err
	})
	expectStops(t, tell(t, db, 1, told{link.Plane{Org: "local", Name: "else"}, 1, 7, running}), "else 1 MOVED there")
}

// TestAPlaneThatKnowsOfNoLeases is a plane of the version before: everything that it tells is recorded as its own.
func TestAPlaneThatKnowsOfNoLeases(t *testing.T) {
	t.Parallel()
	db := open(t)
	tell(t, db, 1, told{there, 1, 7, running})
	expectStops(t, tell(t, db, 1, told{here, 0, 7, running}))
	expectRows(t, db, "here 1 PHASE_RUNNING 1 1; there 1 PHASE_RUNNING 1 1; ")
}
