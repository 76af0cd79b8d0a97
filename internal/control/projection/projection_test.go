package projection_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/control/catalog"
	"biplane.dev/biplane/internal/control/fleet"
	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/control/projection"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

var here = link.Plane{Org: "local", Name: "here"}

func open(t testing.TB) (*projection.Projection, store.DB) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"), ledger.Migrations(), catalog.Migrations(), fleet.Migrations(), projection.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return projection.New(db, fleet.New(db, time.Now), slog.New(slog.DiscardHandler)), db
}

func hello(head int64, lives ...any) *linkv1.Hello {
	h := &linkv1.Hello{Health: &linkv1.Health{Head: head}}
	for i := 0; i < len(lives); i += 2 {
		h.Lives = append(h.Lives, &linkv1.Life{Id: lives[i].(string), BeganAt: int64(lives[i+1].(int))})
	}
	return h
}

func trigger(seq int64, name string, deleted bool) *linkv1.Event {
	id := &linkv1.TriggerID{Org: "local", Project: "p", Domain: "d", Task: "t", Name: name}
	return &linkv1.Event{Seq: seq, Row: &linkv1.Event_Trigger{Trigger: &linkv1.TriggerState{Id: id, Deleted: deleted}}}
}

func count(t *testing.T, db store.DB, table string) (n int) {
	t.Helper()
	if err := db.Read(t.Context(), func(tx store.Tx) error { return tx.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheCursorHoldsOnlyWithinTheHistoryItBelongsTo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hello *linkv1.Hello
		want  int64
	}{
		"the same life goes on":                                 {hello(120, "a", 0, "b", 50), 100},
		"a new life after the cursor":                           {hello(120, "a", 0, "b", 50, "c", 100), 100},
		"put back before the cursor, head below":                {hello(90, "a", 0, "b", 50, "c", 80), 0},
		"put back before the cursor, head above again":          {hello(500, "a", 0, "b", 50, "c", 80), 0},
		"put back before the cursor's life began":               {hello(500, "a", 0, "c", 40), 0},
		"the same life, but its head is below what it had told": {hello(90, "a", 0, "b", 50), 0},
		"a database of its own":                                 {hello(0, "z", 0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := open(t)
			if cursor, err := p.Hello(t.Context(), here, hello(100, "a", 0, "b", 50)); err != nil || cursor != 0 {
				t.Fatalf("cursor %d, err %v", cursor, err)
			}
			if cursor, err := p.Apply(t.Context(), here, &linkv1.Events{Events: []*linkv1.Event{trigger(60, "x", false)}, Through: 100}); err != nil || cursor != 100 {
				t.Fatalf("cursor %d, err %v", cursor, err)
			}
			if cursor, err := p.Hello(t.Context(), here, c.hello); err != nil || cursor != c.want {
				t.Errorf("cursor %d, err %v, want %d", cursor, err, c.want)
			}
		})
	}
}

func TestAReplacedHistoryIsSweptWhenAllOfItHasCome(t *testing.T) {
	t.Parallel()
	p, db := open(t)
	apply := func(through int64, events ...*linkv1.Event) {
		t.Helper()
		if _, err := p.Apply(t.Context(), here, &linkv1.Events{Events: events, Through: through}); err != nil {
			t.Fatal(err)
		}
	}
	greet := func(h *linkv1.Hello) {
		t.Helper()
		if _, err := p.Hello(t.Context(), here, h); err != nil {
			t.Fatal(err)
		}
	}
	greet(hello(9, "a", 0))
	apply(9, trigger(1, "kept", false), trigger(2, "deleted", false), trigger(3, "lost", false))
	apply(10, trigger(10, "deleted", true))
	if n := count(t, db, "triggers"); n != 2 {
		t.Fatalf("%d triggers, want 2", n)
	}
	greet(hello(6, "b", 0))
	apply(5, trigger(5, "kept", false))
	if n := count(t, db, "triggers"); n != 2 {
		t.Errorf("%d triggers: swept before everything had come", n)
	}
	apply(6)
	if n := count(t, db, "triggers"); n != 1 {
		t.Errorf("%d triggers, want 1", n)
	}
	greet(hello(0, "c", 0)) // an empty plane
	if n := count(t, db, "triggers"); n != 0 {
		t.Errorf("%d triggers, want none", n)
	}
}

func TestEventsAtOrBelowTheCursorAreIgnored(t *testing.T) {
	t.Parallel()
	p, db := open(t)
	if _, err := p.Hello(t.Context(), here, hello(0, "a", 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if cursor, err := p.Apply(t.Context(), here, &linkv1.Events{Events: []*linkv1.Event{trigger(1, "x", false), trigger(2, "x", true)}, Through: 2}); err != nil || cursor != 2 {
			t.Fatalf("cursor %d, err %v", cursor, err)
		}
	}
	if cursor, err := p.Apply(t.Context(), here, &linkv1.Events{Events: []*linkv1.Event{trigger(1, "x", false)}, Through: 1}); err != nil || cursor != 2 {
		t.Errorf("cursor %d, err %v", cursor, err)
	}
	if n := count(t, db, "triggers"); n != 0 {
		t.Errorf("a trigger that was deleted is back")
	}
}

func TestAnEventForAnotherOrganisationIsPassedOver(t *testing.T) {
	t.Parallel()
	p, db := open(t)
	if _, err := p.Hello(t.Context(), here, hello(0, "a", 0)); err != nil {
		t.Fatal(err)
	}
	foreign, nameless := trigger(1, "x", false), trigger(2, "", false)
	foreign.GetTrigger().Id.Org = "else"
	unknown := &linkv1.Event{Seq: 3} // a kind of row of a newer plane
	cursor, err := p.Apply(t.Context(), here, &linkv1.Events{Events: []*linkv1.Event{foreign, nameless, unknown, trigger(4, "y", false)}, Through: 4})
	if err != nil || cursor != 4 {
		t.Fatalf("cursor %d, err %v", cursor, err)
	}
	if n := count(t, db, "triggers"); n != 1 {
		t.Errorf("%d triggers, want 1", n)
	}
}

// BenchmarkApply measures events into the ledger, in full batches.
func BenchmarkApply(b *testing.B) {
	p, _ := open(b)
	if _, err := p.Hello(b.Context(), here, hello(0, "a", 0)); err != nil {
		b.Fatal(err)
	}
	const batch = 512
	seq := int64(0)
	events := 0
	for b.Loop() {
		message := &linkv1.Events{}
		for range batch {
			seq++
			id := &linkv1.ActionID{Run: &linkv1.RunID{Org: "local", Project: "p", Domain: "d", Name: "r"}, Name: fmt.Sprint("a", seq/3)}
			message.Events = append(message.Events, &linkv1.Event{Seq: seq, Row: &linkv1.Event_Action{Action: &linkv1.ActionState{Id: id, CreatedUs: seq, ShortName: "work", OutputsUri: "file:///bucket/p/d/r/a/outputs.pb"}}})
		}
		message.Through = seq
		if _, err := p.Apply(b.Context(), here, message); err != nil {
			b.Fatal(err)
		}
		events += batch
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
