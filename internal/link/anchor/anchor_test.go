package anchor_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	linkv1 "biplane.dev/biplane/gen/biplane/link/v1"
	"biplane.dev/biplane/internal/fault"
	"biplane.dev/biplane/internal/link/anchor"
	"biplane.dev/biplane/internal/store"
)

func open(t *testing.T, path string) store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), path, anchor.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func begin(t *testing.T, db store.DB) *anchor.Anchor {
	t.Helper()
	a, err := anchor.Begin(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLivesGrowByOneForEveryStartAndAreBounded(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	first := begin(t, db).Lives()
	if err := db.Write(t.Context(), func(tx store.WriteTx) error { tx.NextSeq(); return nil }); err != nil {
		t.Fatal(err)
	}
	second := begin(t, db).Lives()
	if len(first) != 1 || len(second) != 2 || second[0].GetId() != first[0].GetId() || second[1].GetBeganAt() != 1 || second[1].GetId() == first[0].GetId() {
		t.Fatalf("lives %v, then %v", first, second)
	}
	var last []*linkv1.Life
	for range 100 {
		last = begin(t, db).Lives()
	}
	if len(last) != 64 || slices.ContainsFunc(last, func(l *linkv1.Life) bool { return l.GetId() == first[0].GetId() }) {
		t.Errorf("%d lives are kept", len(last))
	}
}

func TestAPlaneThatTellsOfMoreIsAskedForEverythingAgain(t *testing.T) {
	t.Parallel()
	db := open(t, filepath.Join(t.TempDir(), "x.db"))
	for _, c := range []struct {
		reports []string
		lives   int
	}{{[]string{"run"}, 1}, {[]string{"run"}, 2}, {[]string{"run", "action"}, 1}, {[]string{"run", "action"}, 2}} {
		a, err := anchor.Begin(t.Context(), db, c.reports...)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Lives()) != c.lives {
			t.Errorf("reporting %v: %d lives, want %d", c.reports, len(a.Lives()), c.lives)
		}
	}
}

func TestSinkKeepsItsCursorOverARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	abort := func(seq int64) *linkv1.Command {
		return &linkv1.Command{Seq: seq, Order: &linkv1.Command_AbortRun{AbortRun: &linkv1.AbortRun{}}}
	}
	db := open(t, path)
	var done []int64
	results := map[int64]error{}
	sink := func(a *anchor.Anchor) *anchor.Sink {
		return &anchor.Sink{Anchor: a, Log: slog.New(slog.DiscardHandler), Do: func(_ context.Context, c *linkv1.Command) error {
			done = append(done, c.GetSeq())
			return results[c.GetSeq()]
		}}
	}
	s := sink(begin(t, db))
	results[2] = fault.NotFound("run", "r") // hopeless: passed over
	results[4] = errors.New("the disk is full")
	if err := s.Apply(t.Context(), []*linkv1.Command{abort(1), abort(2), {Seq: 3}, abort(4), abort(5)}); err == nil {
		t.Error("a failure that may pass was taken for done")
	}
	if s.Cursor() != 3 || !slices.Equal(done, []int64{1, 2, 4}) {
		t.Errorf("cursor %d, done %v", s.Cursor(), done)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = sink(begin(t, open(t, path)))
	if s.Cursor() != 3 {
		t.Errorf("cursor %d after a restart", s.Cursor())
	}

	// The session ends while a command is being applied: its cursor is stored all the same.
	delete(results, 4)
	ctx, cancel := context.WithCancel(t.Context())
	s.Do = func(context.Context, *linkv1.Command) error { cancel(); return nil }
	if err := s.Apply(ctx, []*linkv1.Command{abort(4), abort(5)}); !errors.Is(err, context.Canceled) || s.Cursor() != 4 {
		t.Errorf("err %v, cursor %d", err, s.Cursor())
	}
}
