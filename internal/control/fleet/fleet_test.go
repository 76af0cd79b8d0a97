package fleet_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

var here = link.Plane{Org: "local", Name: "here"}

// place is a fleet with a clock that the test turns.
type place struct {
	*fleet.Fleet
	t   *testing.T
	db  store.DB
	now time.Time
}

func newPlace(t *testing.T) *place {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), fleet.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p := &place{t: t, db: db, now: time.UnixMicro(1_000_000)}
	p.restart()
	return p
}

func (p *place) restart() { p.Fleet = fleet.New(p.db, func() time.Time { return p.now }) }

func (p *place) join(applied int64) {
	p.t.Helper()
	health := &linkv1.Health{Version: "1", Head: 5}
	if err := p.db.Write(p.t.Context(), func(tx store.WriteTx) error { return p.Joined(tx, here, health, applied) }); err != nil {
		p.t.Fatal(err)
	}
	p.Present(here, health)
}

func (p *place) one() fleet.Plane {
	p.t.Helper()
	planes, err := p.Planes(p.t.Context(), "local")
	if err != nil || len(planes) != 1 {
		p.t.Fatalf("planes %v, err %v", planes, err)
	}
	return planes[0]
}

func (p *place) order() int64 {
	p.t.Helper()
	seq, err := p.Order(p.t.Context(), here, &linkv1.Command{Order: &linkv1.Command_AbortRun{AbortRun: &linkv1.AbortRun{By: "me"}}})
	if err != nil {
		p.t.Fatal(err)
	}
	return seq
}

func (p *place) waiting(after int64) (numbers []int64) {
	p.t.Helper()
	commands, err := p.Commands(p.t.Context(), here, after, 10)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, command := range commands {
		numbers = append(numbers, command.GetSeq())
	}
	return numbers
}

func TestAPlaneReportsUntilItsSessionEnds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.join(0)
	began := p.now
	p.now = p.now.Add(3 * time.Second)
	if err := p.Heard(t.Context(), here, &linkv1.Health{Version: "1", AttemptsRunning: 7}); err != nil {
		t.Fatal(err)
	}
	if got := p.one(); !got.Reporting || !got.Since.Equal(began) || !got.LastHeard.Equal(p.now) || got.Health.GetAttemptsRunning() != 7 {
		t.Errorf("plane %+v", got)
	}
	heard := p.now
	p.now = p.now.Add(time.Minute) // the watchdog took a while
	if err := p.Gone(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := p.one(); got.Reporting || !got.Since.Equal(heard) || got.Health.GetAttemptsRunning() != 7 {
			t.Errorf("plane %+v, want it silent since %v", got, heard)
		}
		p.restart() // it is remembered
	}
}

func TestNumbersRiseWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.join(0)
	first, second := p.order(), p.order()
	p.now = time.UnixMicro(10) // the clock is put back
	third := p.order()
	if first != 1_000_000 || second <= first || third <= second {
		t.Errorf("numbers %d %d %d", first, second, third)
	}
	if got := p.waiting(first); !slices.Equal(got, []int64{second, third}) {
		t.Errorf("waiting %v", got)
	}
	if err := p.CommandsApplied(t.Context(), here, second); err != nil {
		t.Fatal(err)
	}
	if got := p.waiting(0); !slices.Equal(got, []int64{third}) {
		t.Errorf("waiting %v", got)
	}
}

func TestAPlaneThatHasHeardMoreThanWasIssuedGetsHigherNumbers(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.join(0)
	p.now = time.UnixMicro(100)
	p.order()
	p.now = time.UnixMicro(300)
	p.order()
	p.join(5000) // this database was put back: an earlier life of it had issued up to 5000
	if got := p.waiting(5000); !slices.Equal(got, []int64{5001, 5002}) {
		t.Errorf("waiting %v", got)
	}
	if next := p.order(); next != 5003 {
		t.Errorf("next number %d", next)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.join(0)
	// Fill it in one transaction.
	err := p.db.Write(t.Context(), func(tx store.WriteTx) error {
		for i := range fleet.MaxPending {
			if _, err := tx.Exec(`INSERT INTO commands (org, plane, seq, command) VALUES ('local', 'here', ?, x'')`, i+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Order(t.Context(), here, &linkv1.Command{}); !fault.Is(err, fault.KindExhausted) {
		t.Errorf("one more: %v", err)
	}
	if _, err := p.Order(t.Context(), link.Plane{Org: "local", Name: "unknown"}, &linkv1.Command{}); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("an unknown plane: %v", err)
	}
}
